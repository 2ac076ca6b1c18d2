"""What this node wants ordered: in a queue until a leader can take it, then under way until it comes out of the log.

A leader appends it; any other node forwards it to the leader. Either way the outcome is known when the entry with its
request id is handed over on this node. A proposal is appended once at most: it is sent again only after a refusal, and
a forwarded one is good for one leader in one term.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from tempolite_node.log.raft.entries import Entry, Kind, RequestId, pack
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.messages import Forward, ForwardRefused, Outbox
from tempolite_node.log.raft.outcomes import Committed, NotLeader, Outcome, Unknown
from tempolite_node.log.raft.timing import Limits, Timing


@dataclass(slots=True, kw_only=True, eq=False)
class Proposal:
    request_id: RequestId
    kind: Kind
    data: bytes
    deadline: float  #: of the raft thread's clock
    on_outcome: Callable[[Outcome], None]
    entry: tuple[int, int] | None = None  #: index and term, when this node appended it
    given_to: tuple[str, int] | None = None  #: the leader that it was forwarded to, and its term
    came_from: tuple[str, int] | None = None  #: the node that forwarded it here, and in which term
    not_before: float = 0.0
    done: bool = False


class Proposals:
    def __init__(
        self,
        raft: GuardedRaft,
        outbox: Outbox,
        *,
        limits: Limits,
        timing: Timing,
        clock: Callable[[], float],
        boot_id: Callable[[], str],
    ) -> None:
        """boot_id: names this process to the leader."""
        self._raft = raft
        self._outbox = outbox
        self._limits = limits
        self._timing = timing
        self._clock = clock
        self._boot_id = boot_id
        self._queue: deque[Proposal] = deque()
        self._by_id: dict[RequestId, Proposal] = {}
        self._deadlines: list[tuple[float, int, Proposal]] = []
        self._count = 0
        self._appended: deque[Proposal] = deque()  #: by this node, in the order of their indexes
        self._forwarded: OrderedDict[bytes, None] = OrderedDict()  #: taken from others in `_forwarded_term`
        self._forwarded_term = 0
        self._led_terms: set[int] = set()
        self._term_at_start = raft.term
        self._leader_seen = ("", 0)  #: and its term

    def __len__(self) -> int:
        return len(self._by_id)

    # --- from this node

    def propose(self, proposal: Proposal) -> None:
        if proposal.request_id in self._by_id:
            proposal.on_outcome(Unknown("the same request is under way"))
            return
        self._by_id[proposal.request_id] = proposal
        self._count += 1
        heapq.heappush(self._deadlines, (proposal.deadline, self._count, proposal))
        self._queue.append(proposal)

    def take(self, *, paused: bool) -> bool:
        """Appends or forwards what waits. paused: leadership is being handed over. True: entries were appended."""
        self._expire()
        self._give_up_on_former_leaders()
        before = self._raft.journal.last.index
        if self._raft.is_leader:
            while self._queue and not paused and self._has_room():
                self._append(self._queue.popleft())
        elif self._raft.leader is not None and self._raft.is_connected(self._raft.leader):
            self._forward_all(self._raft.leader)
        return self._raft.journal.last.index > before

    def _give_up_on_former_leaders(self) -> None:
        """What was given to a leader that has been followed by another may be lost: nobody need wait for longer."""
        current = (self._raft.leader or "", self._raft.term)
        if self._raft.leader is None or current == self._leader_seen:
            return
        self._leader_seen = current
        for proposal in list(self._by_id.values()):
            if proposal.given_to is not None and proposal.given_to != current:
                self._finish(proposal, Unknown("the leader that it was given to has been followed by another"))

    def _has_room(self) -> bool:
        return self._raft.journal.last.index - self._raft.commit_index < self._limits.uncommitted_entries

    def _append(self, proposal: Proposal) -> None:
        if proposal.done:
            return
        if proposal.came_from is not None and proposal.came_from[1] != self._raft.term:
            self._refuse(*proposal.came_from, proposal.request_id)
            return
        entry = self._raft.append(pack(proposal.kind, proposal.request_id, proposal.data))
        if proposal.came_from is None:
            proposal.entry = (entry.index, entry.term)
            self._appended.append(proposal)

    def _forward_all(self, leader: str) -> None:
        now, later = self._clock(), []
        while self._queue:
            proposal = self._queue.popleft()
            if proposal.done:
                continue
            if proposal.came_from is not None:
                self._refuse(*proposal.came_from, proposal.request_id)
            elif proposal.not_before > now:
                later.append(proposal)
            else:
                proposal.given_to = (leader, self._raft.term)
                forward = Forward(self._raft.term, proposal.request_id, proposal.kind, proposal.data, self._boot_id())
                self._outbox.send(leader, forward)
        self._queue.extend(later)

    def refused(self, peer: str, refusal: ForwardRefused) -> None:
        """The node that was taken for the leader of that term is not. Waits for a leader again."""
        proposal = self._by_id.get(RequestId(refusal.request_id))
        if proposal is not None and proposal.given_to == (peer, refusal.term):
            proposal.given_to = None
            proposal.not_before = self._clock() + self._timing.heartbeat_s
            self._queue.append(proposal)

    # --- from other nodes

    def leads(self) -> None:
        """This node became the leader of the current term."""
        self._led_terms.add(self._raft.term)

    def forwarded(self, peer: str, forward: Forward) -> None:
        """Queued once, by the leader of the term that it was meant for. Refused if it certainly was not and is not.

        A second copy, which only a strange network makes, is neither: its refusal would have the first one repeated.
        """
        if forward.term == self._forwarded_term and forward.request_id in self._forwarded:
            return
        if not (self._raft.is_leader and forward.term == self._raft.term):
            led_before = forward.term in self._led_terms and forward.term < self._forwarded_term
            # Before this start, or before it lost its journal, this node may have led and forgotten it.
            start = max(self._term_at_start, self._raft.journal.state.recovery_term)
            if forward.term > start and not led_before:
                self._refuse(peer, forward.term, RequestId(forward.request_id))
        elif len(self._queue) >= self._limits.proposals:
            self._refuse(peer, forward.term, RequestId(forward.request_id))
        else:
            self._remember(forward)
            self._queue.append(
                Proposal(
                    request_id=RequestId(forward.request_id),
                    kind=Kind(forward.kind),
                    data=forward.data,
                    deadline=float("inf"),
                    on_outcome=lambda _: None,
                    came_from=(peer, forward.term),
                )
            )

    def _refuse(self, peer: str, term: int, request_id: RequestId) -> None:
        self._outbox.send(peer, ForwardRefused(request_id, term))

    def _remember(self, forward: Forward) -> None:
        if forward.term > self._forwarded_term:
            self._forwarded.clear()
            self._forwarded_term = forward.term
        self._forwarded[forward.request_id] = None
        if len(self._forwarded) > self._limits.recent_forwards:
            self._forwarded.popitem(last=False)

    # --- outcomes

    def handed_over(self, entry: Entry, last_data_index: int) -> None:
        """An entry is committed. Called for each one, in order, those without data among them."""
        proposal = self._by_id.get(entry.request_id)
        if proposal is not None:
            index = entry.index if proposal.kind is Kind.DATA else last_data_index
            self._finish(proposal, Committed(index, entry.term))
        self._lose_overwritten(entry)

    def _lose_overwritten(self, entry: Entry) -> None:
        """Another entry is committed in the place of one that this node appended: that one is gone for good."""
        while self._appended and (place := self._appended[0].entry) is not None and place[0] <= entry.index:
            proposal = self._appended.popleft()
            if not proposal.done:
                self._finish(proposal, NotLeader(self._raft.leader))

    def skipped_to(self, index: int) -> None:
        """A snapshot took the place of entries up to `index`. What became of those is not known here."""
        while self._appended and (place := self._appended[0].entry) is not None and place[0] <= index:
            proposal = self._appended.popleft()
            if not proposal.done:
                self._finish(proposal, Unknown("a snapshot took the place of the entry"))

    def _expire(self) -> None:
        now = self._clock()
        if len(self._deadlines) > 1_000 + 2 * len(self._by_id):
            # Most are done long before their deadline, and would be kept until then.
            self._deadlines = [item for item in self._deadlines if not item[2].done]
            heapq.heapify(self._deadlines)
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].done):
            proposal = heapq.heappop(self._deadlines)[2]
            if proposal.done:
                continue
            if proposal.entry is None and proposal.given_to is None:
                self._finish(proposal, NotLeader(self._raft.leader))
            else:
                self._finish(proposal, Unknown("the deadline passed before the entry was known to be committed"))

    def stop(self) -> None:
        for proposal in list(self._by_id.values()):
            if proposal.entry is None and proposal.given_to is None:
                self._finish(proposal, NotLeader(None))
            else:
                self._finish(proposal, Unknown("the node stops"))

    def _finish(self, proposal: Proposal, outcome: Outcome) -> None:
        proposal.done = True
        del self._by_id[proposal.request_id]
        proposal.on_outcome(outcome)
