"""What must hold in every run (Raft paper, figure 3), and what callers are promised on top of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tempolite_node.log.raft.entries import Entry, LogEntry, RequestId
from tempolite_node.log.raft.outcomes import Committed, NotLeader, Outcome, Unknown

if TYPE_CHECKING:
    from tests.simulation.raft.world import SimNode, World


class Violation(Exception):
    pass


class Checks:
    def __init__(self, world: World) -> None:
        self._world = world
        self.leaders: dict[int, tuple[str, int]] = {}
        self.committed: dict[int, LogEntry] = {}
        self.commit_terms: dict[int, int] = {}
        self.highest = 1
        self.where: dict[RequestId, int] = {}  #: entries with data, by request
        self.delivered: dict[int, Entry] = {}
        self.acknowledged: dict[RequestId, int] = {}
        self.never: set[RequestId] = set()
        self.counts: Counter[str] = Counter()

    def after_tick(self, node: SimNode) -> None:
        self._one_leader_per_term(node)

    def snapshot_installed(self) -> None:
        self.counts["snapshots installed"] += 1

    def before_hand_over(self, node: SimNode) -> None:
        self._same_entries_committed(node)

    def _one_leader_per_term(self, node: SimNode) -> None:
        raft = node.core.raft
        if not raft.is_leader or node.led_term == raft.term:
            return
        node.led_term = raft.term
        self.counts["elections"] += 1
        me = (node.node_id, node.incarnation)
        if self.leaders.setdefault(raft.term, me) != me:
            raise Violation(f"term {raft.term} has two leaders: {self.leaders[raft.term]} and {me}")
        self._leader_is_complete(node)

    def _leader_is_complete(self, node: SimNode) -> None:
        journal, term = node.core.journal, node.core.raft.term
        for index in range(journal.first.index + 1, self.highest + 1):
            if self.commit_terms[index] < term and journal.term_at(index) != self.committed[index].term:
                raise Violation(
                    f"{node.node_id} leads term {term} without entry {index}, committed in {self.commit_terms[index]};"
                    f" it has {journal.term_at(index)} there and ends at {journal.last.index}"
                )

    def _same_entries_committed(self, node: SimNode) -> None:
        raft, journal = node.core.raft, node.core.journal
        if raft.commit_index < node.checked_to and not node.reopened:
            raise Violation(f"{node.node_id} commits {raft.commit_index} after {node.checked_to}")
        node.reopened = False
        for index in range(
            max(min(node.checked_to, raft.commit_index), journal.first.index) + 1, raft.commit_index + 1
        ):
            entry = journal.entries(index, 1)[0]
            known = self.committed.get(index)
            if known is None:
                assert index == self.highest + 1, f"{node.node_id} commits {index}, and {self.highest} was the last"
                self.committed[index], self.commit_terms[index], self.highest = entry, raft.term, index
                self._is_on_a_majority(node, entry)
            elif known != entry:
                raise Violation(f"{node.node_id} commits {entry} where {known} is committed")
        node.checked_to = raft.commit_index

    def _is_on_a_majority(self, leader: SimNode, entry: LogEntry) -> None:
        members = [member.node_id for member in leader.core.membership.current]
        nodes = [self._world.nodes[member] for member in members]
        if any(node.was_wiped for node in nodes):
            return  # what a node had when it acknowledged it may be gone since
        holding = [node.node_id for node in nodes if node.disk.has(entry)]
        if 2 * len(holding) <= len(members):
            raise Violation(f"entry {entry.index} is committed and on the disks of {holding} among {members} only")

    def delivered_entry(self, node: SimNode, entry: Entry) -> None:
        known = self.delivered.setdefault(entry.index, entry)
        if known != entry:
            raise Violation(f"{node.node_id} is handed {entry} where others were handed {known}")
        if self.where.setdefault(entry.request_id, entry.index) != entry.index:
            raise Violation(f"{entry.request_id!r} was ordered at {self.where[entry.request_id]} and at {entry.index}")
        if entry.request_id in self.never:
            raise Violation(f"{entry.request_id!r} is ordered, and its caller was told that it never would be")

    def outcome(self, request_id: RequestId, outcome: Outcome, *, has_data: bool) -> None:
        self.counts[type(outcome).__name__] += 1
        match outcome:
            case Committed(index=index):
                if has_data and self.committed[index].command[1:17] != request_id:
                    raise Violation(f"{request_id!r} was acknowledged at {index}, where something else is committed")
                if has_data:
                    self.acknowledged[request_id] = index
            case NotLeader():
                if request_id in self.where:
                    raise Violation(f"{request_id!r} is ordered, and its caller is told that it never will be")
                self.never.add(request_id)
            case Unknown():
                pass

    def at_the_end(self, nodes: list[SimNode]) -> None:
        for request_id, index in self.acknowledged.items():
            if self.where.get(request_id) != index:
                raise Violation(f"{request_id!r} was acknowledged at {index} and is lost")
        states = {(node.store.applied_index, node.store.digest) for node in nodes}
        if len(states) != 1:
            raise Violation(f"the stores differ: {[(node.node_id, node.store.applied_index) for node in nodes]}")
        if nodes[0].store.count != len(self.delivered):
            raise Violation(f"{len(self.delivered)} entries were ordered and {nodes[0].store.count} applied")
