"""What the log does when one thing goes wrong, told one story at a time. Time is virtual."""

from __future__ import annotations

import pytest

from tempolite_node.log.raft.entries import Kind, Member
from tempolite_node.log.raft.outcomes import Committed, NotLeader, Refused, Transferred, Unknown
from tests.simulation.raft.scenarios import calm

ELECTION_MAX_S = 1.0


def test_a_node_alone_commits_by_itself() -> None:
    with calm(nodes=1) as s:
        outcomes = s.commit(s.leader(), 3)
        assert [type(outcome) for outcome in outcomes] == [Committed] * 3
        assert s.leader().store.count == 3


def test_when_the_leader_dies_another_leads_within_an_election_timeout_and_two_rounds() -> None:
    with calm() as s:
        old = s.leader()
        s.commit(old, 5)
        s.crash(old)
        took = s.wait_until(lambda: any(node is not old for node in s.leaders()), 5.0)
        assert took < 2 * ELECTION_MAX_S
        s.commit(s.leader())


def test_a_node_that_comes_back_from_a_partition_deposes_nobody() -> None:
    with calm() as s:
        leader = s.leader()
        lonely, term = s.followers()[0], leader.core.raft.term
        s.cut_off(lonely)
        s.commit(leader, 5)
        s.wait(20.0)
        s.cut_off(lonely, cut=False)
        s.wait(5.0)
        assert leader.core.raft.is_leader
        assert {node.core.raft.term for node in s.nodes.values()} == {term}
        assert lonely.store.applied_index == leader.store.applied_index


def test_a_leader_that_is_cut_off_steps_down_within_two_election_timeouts() -> None:
    with calm() as s:
        leader = s.leader()
        s.commit(leader)
        s.cut_off(leader)
        took = s.wait_until(lambda: not leader.core.raft.is_leader, 5.0)
        assert took <= 2 * ELECTION_MAX_S


def test_what_a_cut_off_leader_was_asked_is_unknown_until_another_entry_takes_its_place() -> None:
    with calm() as s:
        leader = s.leader()
        s.commit(leader)
        s.cut_off(leader)
        short, long = s.propose(leader, within=1.5), s.propose(leader, within=60.0)
        s.wait(0.05)
        s.wait_until(lambda: bool(short), 3.0)
        assert isinstance(short[0], Unknown)
        s.wait_until(lambda: any(node is not leader for node in s.leaders()), 5.0)
        s.commit(s.leader(), 5)
        s.cut_off(leader, cut=False)
        s.wait_until(lambda: bool(long), 5.0)
        assert isinstance(long[0], NotLeader)
        assert leader.store.count == 6


def test_a_proposal_on_a_follower_goes_to_the_leader_and_is_known_when_it_is_handed_over_there() -> None:
    with calm() as s:
        follower = s.followers()[0]
        (outcome,) = s.commit(follower)
        assert isinstance(outcome, Committed)
        assert follower.store.applied_index == outcome.index


def test_a_proposal_waits_for_a_leader_and_is_never_ordered_when_there_is_none_in_time() -> None:
    with calm() as s:
        leader, (one, two) = s.leader(), s.followers()
        s.crash(leader)
        s.crash(two)
        s.wait_until(lambda: one.core.raft.leader is None, 3.0)
        outcomes = s.propose(one, within=3.0)
        s.wait(2.9)
        assert outcomes == []
        s.wait(0.3)
        assert outcomes == [NotLeader(None)]
        s.start(two)
        s.start(leader)
        s.commit(s.leader())
        assert s.leader().store.count == 1


def test_a_leader_hands_over_without_an_election_timeout_and_proposals_wait_meanwhile() -> None:
    with calm() as s:
        leader = s.leader()
        s.commit(leader, 5)
        target = s.followers()[0]
        outcomes, proposal = s.transfer(leader, target.node_id), s.propose(leader)
        took = s.wait_until(lambda: bool(outcomes), 3.0)
        assert outcomes == [Transferred(target.node_id)]
        assert took < 0.5
        s.wait_until(lambda: bool(proposal), 2.0)
        assert isinstance(proposal[0], Committed)


def test_leadership_is_handed_only_to_a_member_that_is_there() -> None:
    with calm() as s:
        leader, gone = s.leader(), s.followers()[0]
        s.crash(gone)
        s.wait(1.0)
        outcomes = s.transfer(leader, gone.node_id)
        s.wait(0.1)
        assert outcomes == [Refused(f"{gone.node_id} is no member that this node is connected to")]
        assert s.transfer(s.followers()[0], None) == []
        s.wait(0.1)
        assert leader.core.raft.is_leader


def test_a_barrier_is_behind_everything_acknowledged_before_it() -> None:
    with calm() as s:
        acknowledged = s.commit(s.leader(), 7)[-1]
        barrier = s.propose(s.followers()[0], kind=Kind.NO_OP)
        s.wait_until(lambda: bool(barrier), 2.0)
        assert isinstance(barrier[0], Committed)
        assert barrier[0].index == acknowledged.index


def test_a_newcomer_catches_up_before_it_is_counted() -> None:
    with calm() as s:
        leader = s.leader()
        s.commit(leader, 100)  # more than the journal keeps: it takes a snapshot
        newcomer = s.world._newcomer()
        outcomes = s.change(leader, add=Member(newcomer, "host3:1"))
        s.wait_until(lambda: bool(outcomes), 5.0)
        assert isinstance(outcomes[0], Committed)
        s.wait_until(lambda: s.nodes[newcomer].store.count == 100, 5.0)
        assert [member.node_id for member in s.nodes[newcomer].core.membership.current] == ["n0", "n1", "n2", "n3"]
        assert s.world.checks.counts["snapshots installed"] == 1


def test_a_newcomer_that_restarts_before_it_hears_that_it_is_a_member_finds_the_others_again() -> None:
    with calm() as s:
        leader = s.leader()
        s.commit(leader, 5)
        newcomer = s.nodes[s.world._newcomer()]
        outcomes = s.change(leader, add=Member(newcomer.node_id, "host3:1"))
        s.wait_until(lambda: leader.core.membership.learner is None and bool(leader.core.membership.current[3:]), 5.0)
        s.crash(newcomer)  # the entry with the new members is on its way
        assert newcomer.core.membership.current == ()
        s.wait_until(lambda: bool(outcomes), 5.0)
        s.start(newcomer)
        s.wait_until(lambda: newcomer.core.membership.includes_this_node, 5.0)
        s.wait_until(lambda: newcomer.store.count == 5, 5.0)


def test_a_newcomer_that_is_not_there_is_not_counted() -> None:
    with calm() as s:
        leader = s.leader()
        outcomes = s.change(leader, add=Member("n9", "host9:1"))
        s.wait(6.0)
        assert isinstance(outcomes[0], Refused)
        assert [member.node_id for member in leader.core.membership.current] == ["n0", "n1", "n2"]
        s.commit(leader)


def test_an_addition_that_is_asked_for_again_goes_on_for_the_last_who_asked() -> None:
    with calm() as s:
        leader = s.leader()
        newcomer = Member("n3", "host3:1")
        first = s.change(leader, add=newcomer)
        s.wait(3.0)
        second = s.change(leader, add=newcomer)
        s.wait(3.0)
        assert first == [Refused("the new member was asked for again, by another call")]
        assert second == [], "it has time of its own"
        assert s.world._newcomer() == newcomer.node_id
        s.wait_until(lambda: bool(second), 2.0)
        assert isinstance(second[0], Committed)


def test_a_newcomer_that_is_removed_before_it_has_caught_up_is_waited_for_no_more() -> None:
    with calm() as s:
        leader = s.leader()
        added = s.change(leader, add=Member("n9", "host9:1"))
        removed = s.change(leader, remove="n9")
        s.wait(0.1)
        assert added == [Refused("the new member was removed before it had caught up")]
        assert isinstance(removed[0], Committed)
        other = s.change(leader, remove=s.followers()[0].node_id)
        s.wait_until(lambda: bool(other), 3.0)
        assert isinstance(other[0], Committed)


def test_of_two_changes_at_once_the_second_is_refused() -> None:
    with calm(nodes=5) as s:
        leader = s.leader()
        one, two = [node.node_id for node in s.followers()][:2]
        first, second = s.change(leader, remove=one), s.change(leader, remove=two)
        s.wait_until(lambda: bool(first), 3.0)
        assert isinstance(first[0], Committed)
        assert isinstance(second[0], Refused)
        third = s.change(leader, remove=two)
        s.wait_until(lambda: bool(third), 3.0)
        assert isinstance(third[0], Committed)
        assert len(leader.core.membership.current) == 3


def test_a_member_that_was_removed_disturbs_nobody() -> None:
    with calm(nodes=4) as s:
        leader = s.leader()
        removed, term = s.followers()[0], leader.core.raft.term
        outcomes = s.change(leader, remove=removed.node_id)
        s.wait(20.0)
        assert isinstance(outcomes[0], Committed)
        assert (leader.core.raft.is_leader, leader.core.raft.term) == (True, term)
        s.commit(leader)


def test_a_member_is_not_removed_when_those_left_could_not_elect_a_leader() -> None:
    with calm(nodes=5) as s:
        leader, (gone, also_gone, needed, _) = s.leader(), s.followers()
        s.crash(gone)
        s.crash(also_gone)
        s.wait(1.0)
        refused = s.change(leader, remove=needed.node_id)
        s.wait(0.5)
        assert isinstance(refused[0], Refused)
        outcomes = s.change(leader, remove=gone.node_id)
        s.wait_until(lambda: bool(outcomes), 2.0)
        assert isinstance(outcomes[0], Committed)


def test_the_leader_does_not_remove_itself() -> None:
    with calm() as s:
        leader = s.leader()
        outcomes = s.change(leader, remove=leader.node_id)
        s.wait(0.1)
        assert outcomes == [Refused(f"{leader.node_id} is the leader: transfer the leadership to another node first")]


def test_members_are_changed_at_the_leader() -> None:
    with calm() as s:
        leader, follower = s.leader(), s.followers()[0]
        s.wait(0.5)
        outcomes = s.change(follower, remove=leader.node_id)
        s.wait(0.1)
        assert outcomes == [NotLeader(leader.node_id)]


def test_a_follower_that_was_away_too_long_takes_a_snapshot() -> None:
    with calm() as s:
        away, leader = s.followers()[0], s.leader()
        s.crash(away)
        s.commit(leader, 100)
        assert leader.core.journal.first.index > 50
        s.start(away)
        s.wait_until(lambda: away.store.applied_index == leader.store.applied_index, 5.0)
        assert s.world.checks.counts["snapshots installed"] == 1
        s.wait_until(lambda: list(leader.directory.iterdir()) == [], 1.0)  # gone when nobody needs it


@pytest.mark.parametrize("place", ["before a snapshot is installed", "after a snapshot is installed"])
def test_a_crash_in_the_middle_of_installing_a_snapshot_is_made_good(place: str) -> None:
    with calm() as s:
        away, leader = s.followers()[0], s.leader()
        s.crash(away)
        s.commit(leader, 100)
        s.start(away)
        away.fuses[place] = 0
        s.wait_until(lambda: s.world.checks.counts["cut: " + place] == 1, 5.0)
        s.wait_until(lambda: away.alive and away.store.applied_index == leader.store.applied_index, 20.0)
        s.commit(leader)


def test_a_node_that_lost_its_disk_votes_for_nobody_before_it_has_everything_again() -> None:
    """Of three, one lost its disk and one is down: what it may have acknowledged can be at that one alone."""
    with calm() as s:
        leader, (lagging, lost) = s.leader(), s.followers()
        s.crash(lagging)
        s.commit(leader, 5)  # on the disks of two
        s.crash(leader)
        s.crash(lost)
        lost.wipe(store_too=True)
        s.start(lagging)
        s.start(lost)
        s.wait(20.0)
        assert s.leaders() == []
        s.start(leader)
        s.wait_until(lambda: {node.store.count for node in s.nodes.values()} == {5}, 10.0)
        s.commit(s.leader())


def test_a_node_that_lost_its_journal_but_not_its_store_gets_nothing_twice() -> None:
    with calm() as s:
        lost = s.followers()[0]
        s.commit(s.leader(), 30)
        s.crash(lost)
        lost.wipe(store_too=False)
        s.start(lost)
        s.commit(s.leader(), 5)
        s.wait_until(lambda: lost.store.count == 35, 5.0)
        s.wait_until(lambda: lost.core.recovery.is_proven, 5.0)


def test_after_a_restart_of_all_only_what_was_not_applied_is_handed_over_again() -> None:
    with calm(sync_apply=False, apply_s=0.3) as s:
        s.commit(s.leader(), 15)
        applied = {node.node_id: node.store.count for node in s.nodes.values()}
        assert min(applied.values()) < 15  # the rest is lost with the memory it was in
        for node in s.nodes.values():
            s.crash(node)
        for node in s.nodes.values():
            s.start(node)
        s.wait_until(lambda: {node.store.count for node in s.nodes.values()} == {15}, 10.0)


def test_a_new_cluster_starts_when_all_its_members_are_there() -> None:
    with calm() as s:
        late = s.nodes["n2"]
        late.held_down = True
        s.wait(10.0)
        assert s.leaders() == []
        s.start(late)
        s.commit(s.leader())
