"""Messages of peers as bytes, and back. MessagePack, checked field by field: nothing that comes in is ever code."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tempolite_node.log.raft.entries import UNDECODABLE, is_well_formed
from tempolite_node.log.raft.errors import BadMessage
from tempolite_node.log.raft.messages import AnyMessage, AppendEntries, Forward, SnapshotChunk

_SMALL_BYTES = 64  #: numbers, names, and what MessagePack puts around them

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[AnyMessage]] = msgspec.msgpack.Decoder(list[AnyMessage])


def encode(messages: Sequence[AnyMessage]) -> bytes:
    """A frame: what is ready for one peer goes in one write."""
    return _encoder.encode(messages)


def decode(frame: bytes, *, bytes_max: int) -> list[AnyMessage]:
    """BadMessage: the bytes are no messages of ours, are cut short, or are more than `bytes_max`."""
    if len(frame) > bytes_max:
        raise BadMessage(f"a frame of {len(frame)} bytes; at most {bytes_max} are taken")
    try:
        messages = _decoder.decode(frame)
    except UNDECODABLE as error:
        raise BadMessage(f"{len(frame)} bytes that are no messages: {error}") from error
    for message in messages:
        _check(message)
    return messages


def size_of(message: AnyMessage) -> int:
    """About how many bytes it has; to bound queues with."""
    match message:
        case AppendEntries(entries=entries):
            return _SMALL_BYTES + sum(_SMALL_BYTES + len(command) for _, command in entries)
        case SnapshotChunk(data=data) | Forward(data=data):
            return _SMALL_BYTES + len(data)
        case _:
            return _SMALL_BYTES


def _check(message: AnyMessage) -> None:
    """What types can't say."""
    match message:
        case AppendEntries(entries=entries) if not all(is_well_formed(command) for _, command in entries):
            raise BadMessage(f"an entry behind {message.prev_index} has no kind or no request id")
        case SnapshotChunk(offset=offset, data=data, size=size) if offset + len(data) > size:
            raise BadMessage(f"a piece of a snapshot at {offset} goes beyond its size, {size}")
        case _:
            pass
