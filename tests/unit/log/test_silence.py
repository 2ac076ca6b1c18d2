"""Which members a leader takes for silent: those whose registered process does not speak."""

from __future__ import annotations

import pytest

from tempolite_node.log.raft.silence import Silence

TIMEOUT_S = 10.0
OTHERS = {"b": "b1", "c": "c1"}  #: and the process of each that is registered


class Leader:
    """Looks every second, as a leader that runs does."""

    def __init__(self) -> None:
        self.silence = Silence(TIMEOUT_S)
        self.now = 1_000.0
        self.registered = dict(OTHERS)
        self.runs = dict(OTHERS)  #: the process that runs there
        self.answering: set[str] = set()

    def lead(self, seconds: int, *, leads: bool = True) -> list[tuple[int, str]]:
        """For so long; returns whose process was told to be silent, and after how many seconds."""
        told = []
        for second in range(1, seconds + 1):
            self.now += 1
            for peer in self.answering:
                self.silence.heard(peer, self.runs[peer], self.now)
            silent = self.silence.look(self.registered, self.now, leads=leads)
            assert all(run == self.registered[peer] for peer, run in silent)
            told += [(second, peer) for peer, _ in silent]
        return told


@pytest.fixture
def leader() -> Leader:
    """It has led for a second, and heard nobody yet."""
    leader = Leader()
    assert leader.lead(1) == []
    return leader


def test_members_that_answer_are_not_silent(leader: Leader) -> None:
    leader.answering = {"b", "c"}

    assert leader.lead(100) == []


def test_a_member_that_was_never_heard_is_silent_after_the_timeout(leader: Leader) -> None:
    leader.answering = {"b"}

    assert leader.lead(15) == [(10, "c")]


def test_a_member_is_silent_so_long_after_its_last_answer(leader: Leader) -> None:
    leader.answering = {"b", "c"}
    leader.lead(50)
    leader.answering = {"b"}

    assert leader.lead(15) == [(10, "c")]


def test_a_member_that_stays_silent_is_told_again_after_another_timeout(leader: Leader) -> None:
    leader.answering = {"b"}

    assert leader.lead(35) == [(10, "c"), (20, "c"), (30, "c")]


def test_a_member_that_answers_again_has_the_whole_timeout(leader: Leader) -> None:
    leader.answering = {"b"}
    leader.lead(12)
    leader.answering = {"b", "c"}
    leader.lead(1)
    leader.answering = {"b"}

    assert leader.lead(15) == [(10, "c")]


def test_who_does_not_lead_hears_nobody_and_says_nothing(leader: Leader) -> None:
    assert leader.lead(100, leads=False) == []


def test_a_new_leader_gives_everyone_the_whole_timeout(leader: Leader) -> None:
    leader.lead(100, leads=False)

    assert leader.lead(9) == []
    assert leader.lead(1) == [(1, "b"), (1, "c")]


def test_a_leader_that_stood_still_blames_nobody_for_what_it_did_not_hear(leader: Leader) -> None:
    leader.answering = {"b", "c"}
    leader.lead(5)
    leader.answering = set()
    leader.now += 60  # it was paused

    assert leader.lead(10) == []
    assert leader.lead(1) == [(1, "b"), (1, "c")]


def test_a_member_that_left_is_not_asked_for(leader: Leader) -> None:
    leader.lead(5)
    leader.registered = {}

    assert leader.lead(20) == []


def test_a_process_that_is_not_registered_does_not_keep_the_one_before_it_live(leader: Leader) -> None:
    leader.answering = {"b", "c"}
    leader.lead(50)
    leader.runs["c"] = "c2"  # started again, and catching up

    assert leader.lead(25) == [(10, "c"), (20, "c")]


def test_a_process_has_the_whole_timeout_from_when_it_is_registered(leader: Leader) -> None:
    leader.answering = {"b", "c"}
    leader.runs["c"] = "c2"
    leader.lead(8)

    leader.registered["c"] = "c2"
    leader.answering = {"b"}

    assert leader.lead(9) == []
    assert leader.lead(3) == [(2, "c")]


def test_a_process_that_was_given_up_and_registers_again_has_the_whole_timeout(leader: Leader) -> None:
    leader.answering = {"b"}
    assert leader.lead(12) == [(10, "c")]
    del leader.registered["c"]  # the others hold it for dead
    assert leader.lead(50) == []

    leader.registered["c"] = "c1"

    assert leader.lead(12) == [(11, "c")]


def test_a_peer_that_does_not_say_which_process_it_is_counts_as_the_registered_one(leader: Leader) -> None:
    """As versions do that know nothing of it: nodes are upgraded one at a time."""
    leader.answering = {"b", "c"}
    leader.runs["c"] = ""

    assert leader.lead(100) == []
