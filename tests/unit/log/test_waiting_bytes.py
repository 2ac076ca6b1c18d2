"""How much may wait in the replicated log: bounded, but one entry alone may be as large as an entry may be."""

from __future__ import annotations

import pytest

from tempolite_node.errors import Overloaded
from tempolite_node.log.raft.messages import Forward
from tempolite_node.log.raft.raft_log import _Bound
from tempolite_node.log.raft.timing import Limits
from tempolite_node.log.raft.transport import _FrameQueue

LIMITS = Limits(proposals_bytes=1_000, link_bytes=1_000, frame_bytes=1)


def forward(size: int) -> Forward:
    return Forward(1, bytes(16), 0, b"x" * size)


def test_proposals_beyond_the_bytes_that_may_wait_are_refused_and_a_large_one_waits_alone() -> None:
    bound = _Bound(LIMITS)
    bound.enter(5_000)
    with pytest.raises(Overloaded):
        bound.enter(1)
    bound.leave(5_000)

    bound.enter(500)
    with pytest.raises(Overloaded):
        bound.enter(5_000)


def test_a_barrier_has_no_bytes_and_passes_whatever_bytes_wait() -> None:
    bound = _Bound(LIMITS)
    bound.enter(5_000)

    bound.enter(0)

    bound.leave(0)
    bound.leave(5_000)


def test_a_message_larger_than_what_may_wait_for_a_peer_still_gets_there() -> None:
    queue = _FrameQueue(LIMITS)
    queue.put(forward(5_000))
    queue.put(forward(500))  # lost: there is no room beside the large one
    frames = queue.frames()

    assert len(next(frames)) > 5_000
    queue.put(forward(500))
    assert len(next(frames)) < 1_000
    queue.close()
    assert list(frames) == []
