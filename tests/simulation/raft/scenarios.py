"""A world in which nothing goes wrong by itself: a test says what does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tempolite_node.log.raft.entries import Kind, Member, RequestId
from tempolite_node.log.raft.membership import MemberChange
from tempolite_node.log.raft.outcomes import MembershipOutcome, Outcome, TransferOutcome
from tempolite_node.log.raft.proposals import Proposal
from tempolite_node.log.raft.timing import Limits, Timing
from tempolite_node.log.raft.transfer import Transfer
from tests.simulation.raft.plan import Plan
from tests.simulation.raft.world import SimNode, World

CALM = Plan(
    nodes=3,
    sqlite=False,
    wild=False,
    sync_apply=True,
    drop=0,
    duplicate=0,
    slow=0,
    crashes_per_s=0,
    crash_points_per_s=0,
    partitions_per_s=0,
    wipes_per_s=0,
    changes_per_s=0,
    transfers_per_s=0,
    proposals_per_s=0,
    disk_s=0.001,
    stall=0,
    apply_s=0,
    timing=Timing(heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0),
    limits=Limits(keep_entries=20, chunk_bytes=64),
)


class Scenario:
    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes = world.nodes

    def wait(self, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)

    def wait_until(self, done: Callable[[], bool], within: float) -> float:
        """How long it took, in virtual seconds."""
        began = self.world.now
        assert self.world.run_until(began + within, done), f"not within {within} s: {self.statuses()}"
        return self.world.now - began

    def statuses(self) -> list[str]:
        return [str(node.core.status()) for node in self.nodes.values() if node.alive]

    def leaders(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.alive and node.core.raft.is_leader]

    def leader(self) -> SimNode:
        """The one that can commit something, once there is one."""
        self.wait_until(lambda: any(self._has_committed(node) for node in self.leaders()), 10.0)
        return max(self.leaders(), key=lambda node: node.core.raft.term)

    @staticmethod
    def _has_committed(node: SimNode) -> bool:
        raft = node.core.raft
        return node.core.journal.term_at(raft.commit_index) == raft.term

    def followers(self) -> list[SimNode]:
        leader = self.leader()
        return [node for node in self.nodes.values() if node is not leader and node.alive]

    def crash(self, node: SimNode) -> None:
        """Stays down until it is started."""
        self.world.crash(node)
        node.alive = False
        node.held_down = True

    def start(self, node: SimNode) -> None:
        node.held_down = False
        node.start()

    def cut_off(self, node: SimNode, *, cut: bool = True) -> None:
        for other in self.nodes.values():
            if other is not node:
                self.world._set_cut(node.node_id, other.node_id, cut=cut)
                self.world._set_cut(other.node_id, node.node_id, cut=cut)

    def propose(self, node: SimNode, *, within: float = 5.0, kind: Kind = Kind.DATA) -> list[Outcome]:
        """The outcome comes into the list."""
        outcomes: list[Outcome] = []
        request_id = self.world._request_id()
        proposal = Proposal(
            request_id=request_id,
            kind=kind,
            data=request_id if kind is Kind.DATA else b"",
            deadline=self.world.now + within,
            on_outcome=outcomes.append,
        )
        node.post(lambda: node.core.propose(proposal))
        return outcomes

    def commit(self, node: SimNode, count: int = 1) -> list[Any]:
        """Proposes and waits until all are committed."""
        waiting = [self.propose(node) for _ in range(count)]
        self.wait_until(lambda: all(waiting), 5.0)
        return [outcomes[0] for outcomes in waiting]

    def change(self, node: SimNode, *, add: Member | None = None, remove: str | None = None) -> list[MembershipOutcome]:
        outcomes: list[MembershipOutcome] = []
        change = MemberChange(
            request_id=RequestId(self.world._request_id()),
            add=add,
            remove=remove,
            deadline=self.world.now + 5.0,
            on_outcome=outcomes.append,
        )
        node.post(lambda: node.core.change_members(change))
        return outcomes

    def transfer(self, node: SimNode, to: str | None) -> list[TransferOutcome]:
        outcomes: list[TransferOutcome] = []
        transfer = Transfer(to=to, deadline=self.world.now + 3.0, on_outcome=outcomes.append)
        node.post(lambda: node.core.transfer_leadership(transfer))
        return outcomes


@contextmanager
def calm(nodes: int = 3, **changes: Any) -> Iterator[Scenario]:
    world = World(1, replace(CALM, nodes=nodes, **changes))
    with world.open():
        yield Scenario(world)
