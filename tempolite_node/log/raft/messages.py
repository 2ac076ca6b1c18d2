"""What nodes say to each other. A tag is never used again; a field may be added at the end, with a default."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta, Struct

from tempolite_node.log.raft.entries import Member

Number = Annotated[int, Meta(ge=0, le=(1 << 62))]  #: an index, a term, a size: what the journal's integers hold


class Message(Struct, frozen=True, array_like=True):
    pass


class AppendEntries(Message, frozen=True, array_like=True, tag=1):
    """From a leader: the entries behind `prev_index`, each with its term. None: a heartbeat."""

    term: Number
    prev_index: Number
    prev_term: Number
    commit_index: Number
    entries: list[tuple[Number, bytes]]


class Ack(Message, frozen=True, array_like=True, tag=2):
    """To a leader. Success: everything before `next_index` is on disk here and equals the leader's, in this term.

    Otherwise the entry at `rejected` is missing or another; the leader goes on from `next_index`.
    """

    term: Number
    next_index: Number
    success: bool
    rejected: Number = 0
    recovering: bool = False  #: the peer does not vote yet; see recovery.py
    boot_id: str = ""  #: names the peer's process; empty: its version does not tell


class RequestVote(Message, frozen=True, array_like=True, tag=3):
    term: Number
    last_index: Number
    last_term: Number


class Vote(Message, frozen=True, array_like=True, tag=4):
    term: Number


class PreVote(Message, frozen=True, array_like=True, tag=5):
    """Would you vote for me in this term? Nothing changes by asking, so a node that was cut off deposes nobody."""

    term: Number
    last_index: Number
    last_term: Number


class PreVoteReply(Message, frozen=True, array_like=True, tag=6):
    term: Number  #: of the question
    granted: bool
    current_term: Number  #: of who answers


class HigherTerm(Message, frozen=True, array_like=True, tag=7):
    """Answers whatever came from an earlier term, so that its sender steps down."""

    term: Number


class TimeoutNow(Message, frozen=True, array_like=True, tag=8):
    """From a leader that hands over: stand for election now."""

    term: Number


class SnapshotChunk(Message, frozen=True, array_like=True, tag=9):
    """A piece of the snapshot at `index`. Index, term, size and checksum together name the snapshot."""

    term: Number
    index: Number
    last_term: Number  #: term of the entry at `index`
    members: list[Member]  #: at `index`
    size: Number
    crc: Number  #: CRC-32 of the whole file
    offset: Number
    data: bytes  #: empty: only asks how far it has come


class SnapshotAck(Message, frozen=True, array_like=True, tag=10):
    term: Number
    index: Number
    crc: Number
    received: Number  #: bytes, from the start


class Forward(Message, frozen=True, array_like=True, tag=11):
    """A proposal for the leader of `term`, and of no other: so it can't be ordered twice."""

    term: Number
    request_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    kind: Annotated[int, Meta(ge=0, le=1)]  #: data or no-op; members are changed at the leader alone
    data: bytes
    boot_id: str = ""  #: as in Ack


class ForwardRefused(Message, frozen=True, array_like=True, tag=12):
    """The proposal that was forwarded in this term was not ordered and will not be."""

    request_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    term: Number


class RecoveryRequest(Message, frozen=True, array_like=True, tag=13):
    """From a node whose journal is empty: who knows of me?"""

    nonce: Number  #: of the start that asks; 0: a node that hears no leader only wants to know who the members are


class RecoveryReply(Message, frozen=True, array_like=True, tag=14):
    nonce: Number
    fresh: bool  #: the one who answers never was in a term, either
    term: Number
    last_index: Number
    members: list[Member]


class Introduction(Message, frozen=True, array_like=True, tag=15):
    """From a leader: this node is about to become a member. It must reach everybody, to learn what it may promise."""

    term: Number
    member: Member


AnyMessage = (
    AppendEntries
    | Ack
    | RequestVote
    | Vote
    | PreVote
    | PreVoteReply
    | HigherTerm
    | TimeoutNow
    | SnapshotChunk
    | SnapshotAck
    | Forward
    | ForwardRefused
    | RecoveryRequest
    | RecoveryReply
    | Introduction
)


class Outbox(Protocol):
    """Sends to the other nodes. Never waits; what is lost is not sent again."""

    def send(self, peer: str, message: AnyMessage) -> None: ...
