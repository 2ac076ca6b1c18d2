"""What is in an entry of the log: its kind, the id of the request that brought it, and bytes.

The first byte is the library's own mark of a command's kind. Its empty no-op, one byte, is an entry like any other.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, NewType

import msgspec

RequestId = NewType("RequestId", bytes)

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  #: what msgspec says to bytes of a stranger

REQUEST_ID_BYTES = 16
NO_REQUEST = RequestId(b"")


class Kind(enum.IntEnum):
    DATA = 0  #: the consumer's
    NO_OP = 1  #: of a new leader, or of a barrier
    MEMBERS = 2  #: the cluster's members from this entry on


class Member(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A node of the cluster, and where its peers reach it ("host:port")."""

    node_id: str
    address: str


Members = tuple[Member, ...]


class LogEntry(NamedTuple):
    """An entry as the library keeps it: a tuple, in the library's order."""

    command: bytes
    index: int  # type: ignore[assignment]  # in place of tuple's method
    term: int


class Entry(msgspec.Struct, frozen=True):
    """A committed entry as the consumer gets it. Indexes grow; they need not be consecutive."""

    index: int
    term: int
    request_id: RequestId
    data: bytes


class Content(NamedTuple):
    kind: Kind
    request_id: RequestId
    data: bytes


def pack(kind: Kind, request_id: RequestId, data: bytes) -> bytes:
    assert len(request_id) == REQUEST_ID_BYTES, f"a request id has {REQUEST_ID_BYTES} bytes, not {len(request_id)}"
    return bytes((kind,)) + request_id + data


def unpack(command: bytes) -> Content:
    kind = Kind(command[0])
    if len(command) == 1:
        return Content(kind, NO_REQUEST, b"")
    head = 1 + REQUEST_ID_BYTES
    return Content(kind, RequestId(command[1:head]), command[head:])


def is_well_formed(command: bytes) -> bool:
    """Whether a command of a peer is one. Nothing else gets into the journal."""
    if command == NO_OP:
        return True
    if len(command) < 1 + REQUEST_ID_BYTES or command[0] > Kind.MEMBERS:
        return False
    return command[0] != Kind.MEMBERS or _decodes(command[1 + REQUEST_ID_BYTES :])


def _decodes(data: bytes) -> bool:
    try:
        return bool(decode_members(data))
    except UNDECODABLE:
        return False


NO_OP = bytes((Kind.NO_OP,))

_members = msgspec.msgpack.Decoder(Members)


def encode_members(members: Sequence[Member]) -> bytes:
    return msgspec.msgpack.encode(sorted(members))


def decode_members(data: bytes) -> Members:
    """UNDECODABLE: these bytes are no list of members."""
    return _members.decode(data)
