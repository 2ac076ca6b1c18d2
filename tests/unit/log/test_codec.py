"""Bytes of a peer become messages, or a BadMessage and nothing else."""

from __future__ import annotations

import contextlib
import pickle

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempolite_node.log.raft import codec
from tempolite_node.log.raft.entries import Kind, Member, RequestId, encode_members, pack
from tempolite_node.log.raft.errors import BadMessage
from tempolite_node.log.raft.messages import (
    Ack,
    AnyMessage,
    AppendEntries,
    Forward,
    ForwardRefused,
    HigherTerm,
    Introduction,
    PreVote,
    PreVoteReply,
    RecoveryReply,
    RecoveryRequest,
    RequestVote,
    SnapshotAck,
    SnapshotChunk,
    TimeoutNow,
    Vote,
)

BYTES_MAX = 10_000
REQUEST = RequestId(bytes(range(16)))
MEMBERS = [Member("n1", "h1:1"), Member("n2", "h2:1")]

MESSAGES: list[AnyMessage] = [
    AppendEntries(7, 3, 2, 3, [(7, pack(Kind.DATA, REQUEST, b"\x00\xff")), (7, b"\x01")]),
    AppendEntries(7, 3, 2, 3, [(7, pack(Kind.MEMBERS, REQUEST, encode_members(MEMBERS)))]),
    AppendEntries(7, 3, 2, 3, []),
    Ack(7, 5, success=True),
    Ack(7, 5, success=False, rejected=9, recovering=True),
    Ack(7, 5, success=True, boot_id="5d1f7c0a93e2b846"),
    RequestVote(7, 3, 2),
    Vote(7),
    PreVote(8, 3, 2),
    PreVoteReply(8, granted=True, current_term=7),
    HigherTerm(1 << 62),
    TimeoutNow(7),
    SnapshotChunk(7, 5, 2, MEMBERS, 10, 1234, 4, b"abc"),
    SnapshotAck(7, 5, 1234, 4),
    Forward(7, REQUEST, 0, b"data"),
    Forward(7, REQUEST, 0, b"data", "5d1f7c0a93e2b846"),
    ForwardRefused(REQUEST, 7),
    RecoveryRequest(99),
    Introduction(7, MEMBERS[0]),
    RecoveryReply(99, fresh=False, term=7, last_index=5, members=MEMBERS),
]


def decode(frame: bytes) -> list[AnyMessage]:
    return codec.decode(frame, bytes_max=BYTES_MAX)


def test_every_kind_of_message_is_among_the_examples() -> None:
    assert {type(message) for message in MESSAGES} == set(AnyMessage.__args__)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message: AnyMessage) -> None:
    assert decode(codec.encode([message])) == [message]


def test_messages_of_a_version_that_does_not_name_its_process_are_understood() -> None:
    earlier = msgspec.msgpack.encode([[2, 7, 5, True, 0, False], [11, 7, REQUEST, 0, b"data"]])

    assert decode(earlier) == [Ack(7, 5, success=True), Forward(7, REQUEST, 0, b"data")]


def test_what_a_later_version_adds_at_the_end_of_a_message_is_passed_over() -> None:
    later = msgspec.msgpack.encode([[2, 7, 5, True, 0, False, "5d1f7c0a93e2b846", "more"]])

    assert decode(later) == [Ack(7, 5, success=True, boot_id="5d1f7c0a93e2b846")]


def test_messages_that_wait_together_come_back_in_order() -> None:
    assert decode(codec.encode(MESSAGES)) == MESSAGES


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_that_is_cut_short_anywhere_is_refused(message: AnyMessage) -> None:
    frame = codec.encode([message])
    for length in range(len(frame)):
        with pytest.raises(BadMessage):
            decode(frame[:length])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(garbage: bytes) -> None:
    with contextlib.suppress(BadMessage):
        assert isinstance(decode(garbage), list)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_byte_is_refused_or_makes_another_valid_message(message: AnyMessage, data: st.DataObject) -> None:
    frame = bytearray(codec.encode([message]))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages = decode(bytes(frame))
    except BadMessage:
        return
    assert decode(codec.encode(messages)) == messages


def test_more_bytes_than_are_allowed_are_refused_unread() -> None:
    with pytest.raises(BadMessage, match=r"a frame of 10001 bytes; at most 10000 are taken"):
        decode(b"\x90" * 10_001)


@pytest.mark.parametrize(
    "raw",
    [
        [[99, 1]],  # no such kind
        [[4]],  # a field is missing
        [[4, -1]],
        [[4, (1 << 62) + 1]],  # more than the journal's integers hold
        [[4, "7"]],
        [[11, 7, b"short", 0, b""]],
        [[11, 7, bytes(16), 2, b""]],  # members are not changed by forwarding
        [[1, 7, 3, 2, 3, [[7, b""]]]],
        [[1, 7, 3, 2, 3, [[7, b"\x00short"]]]],
        [[1, 7, 3, 2, 3, [[7, b"\x03" + bytes(16)]]]],  # the library's own kind of command
        [[1, 7, 3, 2, 3, [[7, b"\x02" + bytes(16) + b"no members"]]]],
        [[1, 7, 3, 2, 3, [[7, b"\x02" + bytes(16) + b"\x90"]]]],  # nobody is left
        [[9, 7, 5, 2, [], 10, 1234, 8, b"abc"]],  # beyond its own size
        {"type": "append_entries"},
    ],
)
def test_what_has_the_wrong_shape_is_refused(raw: object) -> None:
    with pytest.raises(BadMessage):
        decode(msgspec.msgpack.encode(raw))


def test_a_pickle_is_refused() -> None:
    with pytest.raises(BadMessage):
        decode(pickle.dumps({"type": "append_entries", "term": 1}))


def test_a_field_that_a_later_version_adds_is_ignored() -> None:
    assert decode(msgspec.msgpack.encode([[4, 7, "new"]])) == [Vote(7)]
