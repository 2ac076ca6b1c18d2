"""How messages travel between the node and a worker host: length-prefixed MessagePack over a Unix socket pair.

One write carries whatever is ready: a frame is a list of messages, `<u32 little-endian length><msgpack list>`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from tempolite_node.protocol.messages import FromHost, ToHost

FRAME_BYTES_MAX = 2**32 - 1  #: what its length can say

_SEVERAL_BYTES_MAX = 1024 * 1024  #: of a frame with several messages

_LIST_BYTES = 5  #: of the list itself, at most

_LENGTH = struct.Struct("<I")


T = TypeVar("T")


class FrameReader(Generic[T]):
    """Cuts a byte stream into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[list[T]]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The messages completed by these bytes. ValueError: the peer is broken, close the connection."""
        self._buffer += data
        messages: list[T] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages += self._decoded(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages

    def _decoded(self, frame: bytes) -> list[T]:
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError) as error:  # in msgspec 0.20 and before the former is no ValueError
            raise ValueError(f"a frame of {len(frame)} bytes is not what a peer sends: {error}") from error


def host_reader() -> FrameReader[ToHost]:
    """Reads what the node says; for the worker host."""
    return FrameReader(msgspec.msgpack.Decoder(list[ToHost]))


def node_reader() -> FrameReader[FromHost]:
    """Reads what a worker host says; for the node."""
    return FrameReader(msgspec.msgpack.Decoder(list[FromHost]))


_encoder = msgspec.msgpack.Encoder()


def encode_message(message: ToHost | FromHost | msgspec.Raw) -> msgspec.Raw:
    """One message, for a frame."""
    return msgspec.Raw(_encoder.encode(message))


def encode(messages: Sequence[ToHost] | Sequence[FromHost] | Sequence[msgspec.Raw]) -> bytes:
    """A frame with these messages, or several when they are large: each is held in memory whole when it is read.

    ValueError: one of them, by itself, is more than a frame can hold.
    """
    buffer = bytearray(_LENGTH.size)
    _encoder.encode_into(messages, buffer, _LENGTH.size)
    length = len(buffer) - _LENGTH.size
    if length > _SEVERAL_BYTES_MAX and len(messages) > 1:
        del buffer
        return b"".join(encode(some) for some in _parted([encode_message(message) for message in messages]))
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {length:,} bytes; a frame holds {FRAME_BYTES_MAX:,}")
    _LENGTH.pack_into(buffer, 0, length)
    return bytes(buffer)


def _parted(messages: Sequence[msgspec.Raw]) -> Iterator[Sequence[msgspec.Raw]]:
    """As many at a time as a frame may hold, or one that is larger by itself."""
    part: list[msgspec.Raw] = []
    size = 0
    for message in messages:
        length = len(memoryview(message))
        if part and size + length > _SEVERAL_BYTES_MAX - _LIST_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += length
    yield part
