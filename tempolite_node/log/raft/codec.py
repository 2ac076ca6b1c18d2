"""Messages of peers as bytes, and back. MessagePack, checked field by field: nothing that comes in is ever code."""

from __future__ import annotations

import msgspec

from tempolite_node.log.raft.entries import is_well_formed
from tempolite_node.log.raft.errors import BadMessage
from tempolite_node.log.raft.messages import AnyMessage, AppendEntries, SnapshotChunk

MESSAGE_OVERHEAD_BYTES = 64 * 1024  #: what a message may have beside entries or a chunk: lengths, terms, members

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes, *, bytes_max: int) -> AnyMessage:
    """BadMessage: the bytes are no message of ours, are cut short, or are more than `bytes_max`."""
    if len(data) > bytes_max:
        raise BadMessage(f"a message of {len(data)} bytes; at most {bytes_max} are taken")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(f"{len(data)} bytes that are no message: {error}") from error
    _check(message)
    return message


def _check(message: AnyMessage) -> None:
    """What types can't say."""
    match message:
        case AppendEntries(entries=entries) if not all(is_well_formed(command) for _, command in entries):
            raise BadMessage(f"an entry behind {message.prev_index} has no kind or no request id")
        case SnapshotChunk(offset=offset, data=data, size=size) if offset + len(data) > size:
            raise BadMessage(f"a piece of a snapshot at {offset} goes beyond its size, {size}")
        case _:
            pass
