"""The world around the nodes: time, network, power, callers; and what goes wrong in it."""

from __future__ import annotations

import heapq
import logging
import random
import shutil
import tempfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pysyncobj import syncobj as library

from tempolite_node.log.raft import codec
from tempolite_node.log.raft.core import Identity, RaftCore
from tempolite_node.log.raft.entries import Entry, Kind, Member, Members, RequestId
from tempolite_node.log.raft.log_store import LogStore, Phase
from tempolite_node.log.raft.membership import MemberChange
from tempolite_node.log.raft.messages import AnyMessage, AppendEntries, Forward
from tempolite_node.log.raft.outcomes import Committed, Outcome
from tempolite_node.log.raft.proposals import Proposal
from tempolite_node.log.raft.transfer import Transfer
from tests.simulation.raft.checks import Checks, Violation
from tests.simulation.raft.disks import PLACES, Consumer, FaultyDisk, FileDisk, MemoryDisk, PowerCut, Store
from tests.simulation.raft.plan import Plan

TRACE_LINES = 400


class SimNode:
    """A node over all its starts: its disks stay, its core goes with the power."""

    def __init__(self, world: World, node_id: str, disk: MemoryDisk) -> None:
        self.world = world
        self.node_id = node_id
        self.disk = disk
        self.store = Store()
        self.directory = world.directory / node_id
        self.directory.mkdir()
        self.incarnation = 0
        self.alive = False
        self.held_down = False  #: stays without power until a test gives it back
        self.was_wiped = False
        self.joins = False
        self.core: RaftCore
        self.consumer: Consumer
        self.inbox: deque[Callable[[], None]] = deque()
        self.led_term = 0
        self.checked_to = 0
        self.reopened = True
        self.busy_until = 0.0
        self.spent = 0.0
        self.wakes_at = float("inf")
        self.fuses: dict[str, int] = {}  #: the power goes when it was at such a place so often
        self.connected: set[str] = set()
        self.known: set[str] = set()  #: whom it connects to and lets in

    # --- power

    def start(self) -> None:
        world = self.world
        self.incarnation += 1
        self.alive, self.reopened = True, True
        self.spent, self.busy_until = 0.0, world.now
        self.fuses.clear()
        self.led_term, self.checked_to = 0, 0
        self.inbox.clear()
        self.connected.clear()
        self.known = set()
        if world.rng.random() < 0.5:  # else the disk had kept more than it was told to
            self.store.lose_what_was_not_synced()
        self.store.sync()
        disk = FaultyDisk(self.disk, self.point, self._spend_on_disk)
        self.consumer = Consumer(
            self.store,
            point=self.point,
            seen=self._delivered,
            installed=world.checks.snapshot_installed,
            sync=world.plan.sync_apply,
        )
        members = world.first_members
        self.core = RaftCore(
            Identity(
                node_id=self.node_id,
                bootstrap=() if self.joins else members,
                seeds=members,
                incarnation=world.rng.getrandbits(60),
            ),
            journal=LogStore(disk, () if self.joins else members),
            machine=self.consumer,
            peers=self,
            background=self,
            snapshot_directory=self.directory,
            timing=world.plan.timing,
            limits=world.plan.limits,
            clock=lambda: world.now,
            rng=random.Random(world.rng.getrandbits(60)),
        )
        self._watch_hand_over()
        world.connections_of(self)
        self.wake(0.0)

    def _watch_hand_over(self) -> None:
        """What is committed is looked at before it can be compacted away."""
        hand_over = self.core.handover.run

        def run() -> None:
            self.world.checks.before_hand_over(self)
            hand_over()

        self.core.handover.run = run  # type: ignore[method-assign]

    def stop(self) -> None:
        self.alive = False
        self.wakes_at = float("inf")
        self.disk.close()

    def wipe(self, *, store_too: bool) -> None:
        assert not self.alive
        self.disk = self.world.new_disk(self.node_id, self.incarnation)
        self.was_wiped = True
        if store_too:
            self.store = Store()

    def point(self, place: str) -> None:
        """A place where the power may go."""
        if place not in self.fuses:
            return
        self.fuses[place] -= 1
        if self.fuses[place] < 0:
            self.world.note(f"{self.node_id} loses power: {place}")
            self.world.checks.counts["cut: " + place] += 1
            raise PowerCut

    def _spend_on_disk(self) -> None:
        plan, rng = self.world.plan, self.world.rng
        self.spent += rng.random() * (1.0 if rng.random() < plan.stall else plan.disk_s)

    def _delivered(self, entry: Entry) -> None:
        self.world.checks.delivered_entry(self, entry)

    # --- its thread

    def wake(self, delay: float) -> None:
        """Ticks after `delay`, or when it is through with what it does."""
        at = max(self.world.now + delay, self.busy_until)
        if at < self.wakes_at:
            self.wakes_at = at
            incarnation = self.incarnation
            self.world.at(at, lambda: self._tick(at, incarnation))

    def _tick(self, at: float, incarnation: int) -> None:
        if not self.alive or incarnation != self.incarnation or at != self.wakes_at:
            return
        self.wakes_at = float("inf")
        self.spent = 0.0
        with self.powered():
            while self.inbox:
                self.inbox.popleft()()
            self.core.tick()
            self.world.checks.after_tick(self)
            self._apply_later()
        self.busy_until = self.world.now + self.spent
        if self.alive:
            self.wake(0.0 if self.core.is_busy else self.world.plan.timing.tick_s)

    @contextmanager
    def powered(self) -> Iterator[None]:
        try:
            yield
        except PowerCut:
            self.world.crash(self)

    def post(self, call: Callable[[], None]) -> None:
        self.inbox.append(call)
        self.wake(self.world.rng.random() * 0.002)

    def _apply_later(self) -> None:
        if self.consumer.queue:
            incarnation, delay = self.incarnation, self.world.rng.random() * self.world.plan.apply_s
            self.world.at(self.world.now + delay, lambda: self._apply(incarnation))

    def _apply(self, incarnation: int) -> None:
        if self.alive and incarnation == self.incarnation:
            self.consumer.apply(self.world.rng.randint(1, 20))
            self._apply_later()

    # --- Peers and Background of its core

    def send(self, peer: str, message: AnyMessage) -> None:
        self.point("a message is sent")
        self.world.transmit(self.node_id, peer, message, after=self.spent)

    def learn_addresses(self, members: Members) -> None:
        self._know(self.known | {member.node_id for member in members})

    def forget(self, peers: Collection[str]) -> None:
        self._know(self.known - set(peers))

    def _know(self, peers: set[str]) -> None:
        changed = sorted((self.known ^ peers) - {self.node_id})
        self.known = peers
        for peer in changed:
            self.world.acquaintance_changed(self.node_id, peer)

    def refusals(self) -> dict[str, str]:
        return {}

    def run(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        incarnation = self.incarnation

        def finish() -> None:
            if self.alive and incarnation == self.incarnation:
                with self.powered():
                    result = work()
                    self.post(lambda: done(result))

        self.world.at(self.world.now + self.world.rng.random() * 0.5, finish)


class World:
    def __init__(self, seed: int, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = random.Random(f"world {seed}")
        self.now = 1_000.0
        self.directory = Path(tempfile.mkdtemp(prefix="raft-sim-", dir=_memory()))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._cut: set[tuple[str, str]] = set()  #: directed: nothing gets from one to the other
        self._epochs: Counter[tuple[str, str]] = Counter()
        self._last_arrival: dict[tuple[str, str], float] = {}
        self.first_members: Members = tuple(Member(f"n{n}", f"host{n}:1") for n in range(plan.nodes))
        self.checks = Checks(self)
        self._trace: deque[tuple[float, str, AnyMessage | None]] = deque(maxlen=TRACE_LINES)
        self.digest = 0
        self.faulty = True
        self.nodes: dict[str, SimNode] = {}
        for member in self.first_members:
            self._add_node(member.node_id)
        self._requests = 0

    def _add_node(self, node_id: str) -> SimNode:
        node = self.nodes[node_id] = SimNode(self, node_id, self.new_disk(node_id, 0))
        return node

    def new_disk(self, node_id: str, generation: int) -> MemoryDisk:
        if self.plan.sqlite:
            return FileDisk(self.directory / f"{node_id}-{generation}.journal", node_id)
        return MemoryDisk()

    # --- time

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))

    def note(self, what: str) -> None:
        self.digest = zlib.crc32(f"{self.now:.6f} {what}".encode(), self.digest)
        self._trace.append((self.now, what, None))

    def note_message(self, way: str, data: bytes, message: AnyMessage) -> None:
        self.digest = zlib.crc32(data, self.digest + int(self.now * 1_000_000))
        self._trace.append((self.now, way, message))

    def trace(self, lines: int) -> list[str]:
        """What happened last."""
        return [
            f"{when:.4f} {what} {_brief(message) if message is not None else ''}"
            for when, what, message in list(self._trace)[-lines:]
        ]

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> bool:
        while self._events and self._events[0][0] <= end:
            self.now, _, call = heapq.heappop(self._events)
            call()
            if done():
                return True
        self.now = max(self.now, end)
        return done()

    def run(self) -> None:
        """Violation, or any other error that a node ends with: the seed has found something."""
        with self.open():
            self._begin_faults()
            self.run_until(self.now + self.plan.seconds)
            self._heal()
            self._settle()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Nodes that start, in virtual time; everything is gone afterwards."""
        with _virtual_time(self):
            try:
                for node in self.nodes.values():
                    self.at(self.now + self.rng.random() * 0.5, self._starter(node))
                yield
            finally:
                for node in self.nodes.values():
                    node.stop()
                shutil.rmtree(self.directory, ignore_errors=True)

    def _starter(self, node: SimNode) -> Callable[[], None]:
        def start() -> None:
            if not node.alive and not node.held_down:
                self.note(f"{node.node_id} starts")
                with node.powered():
                    node.start()

        return start

    def _every(self, per_s: float, call: Callable[[], None]) -> None:
        """At random moments, so often on average, while there are faults."""
        if per_s:

            def again() -> None:
                if self.faulty:
                    call()
                    self.at(self.now + self.rng.expovariate(per_s), again)

            self.at(self.now + self.rng.expovariate(per_s), again)

    def _begin_faults(self) -> None:
        plan = self.plan
        self._every(plan.proposals_per_s, self._propose_somewhere)
        self._every(2.0, self._barrier_somewhere)
        self._every(plan.crashes_per_s, self._crash_some)
        self._every(plan.crash_points_per_s, self._arm_one)
        self._every(plan.partitions_per_s, self._cut_or_mend)
        self._every(0.5, self._mend_all)
        self._every(plan.wipes_per_s, self._wipe_one)
        self._every(plan.changes_per_s, self._change_members)
        self._every(plan.transfers_per_s, self._transfer)

    # --- the end

    def _heal(self) -> None:
        self.faulty = False
        self.note("the world heals")
        self._mend_all()
        for node in self.nodes.values():
            node.fuses.clear()
            if not node.alive:
                self._starter(node)()

    def _settle(self) -> None:
        final: list[Outcome] = []
        tries = 0
        while not final or not isinstance(final[-1], Committed):
            if tries == 30:
                raise Violation(f"no progress: {[self._where(node) for node in self.nodes.values()]}")
            tries += 1
            leading = [node for node in self.nodes.values() if node.alive and node.core.raft.is_leader]
            if leading:
                self._propose(max(leading, key=lambda node: node.core.raft.term), final.append)
            self.run_until(self.now + 2.0)
        if not self.run_until(self.now + 40.0, self._all_equal):
            raise Violation(f"nodes lag: {[self._where(node) for node in self._members()]}")
        self.checks.at_the_end(self._members())

    def _members(self) -> list[SimNode]:
        leading = [node for node in self.nodes.values() if node.alive and node.core.raft.is_leader]
        if not leading:
            return []
        leader = max(leading, key=lambda node: node.core.raft.term)
        return [self.nodes[member.node_id] for member in leader.core.membership.current]

    def _all_equal(self) -> bool:
        members = self._members()
        # Nobody is waited for who has not been given everything yet, or who may not vote yet without a reason.
        return bool(members) and {node.store.applied_index for node in members} == {max(self.checks.delivered)}

    def _where(self, node: SimNode) -> str:
        if not node.alive:
            return f"{node.node_id} is down"
        return f"{node.core.status()}"

    # --- network

    def transmit(self, source: str, target: str, message: AnyMessage, *, after: float) -> None:
        plan, rng = self.plan, self.rng
        sender = self.nodes[source]
        if target not in sender.connected or target not in self.nodes:
            return
        if self.faulty and rng.random() < plan.drop:
            return
        for _ in range(2 if self.faulty and rng.random() < plan.duplicate else 1):
            delay = after + 0.0005 + rng.random() * 0.004
            if self.faulty and rng.random() < plan.slow:
                delay += rng.random() * 2.0
            arrival = self.now + delay
            if not (plan.wild and self.faulty):
                arrival = max(arrival, self._last_arrival.get((source, target), 0.0))
                self._last_arrival[source, target] = arrival
            self._deliver_at(arrival, source, target, codec.encode([message]))

    def _deliver_at(self, arrival: float, source: str, target: str, data: bytes) -> None:
        sent_by = self.nodes[source].incarnation
        epoch, incarnation = self._epochs[source, target], self.nodes[target].incarnation

        def deliver() -> None:
            node = self.nodes[target]
            if not node.alive or (source, target) in self._cut or source not in node.known:
                return
            if not self.plan.wild and (
                epoch != self._epochs[source, target]
                or incarnation != node.incarnation
                or sent_by != self.nodes[source].incarnation
            ):
                return
            (message,) = codec.decode(data, bytes_max=1 << 20)
            self.note_message(f"{source} -> {target}", data, message)
            node.post(lambda: node.core.receive(source, message))

        self.at(arrival, deliver)

    def connections_of(self, node: SimNode) -> None:
        """A node came up."""
        for other in self.nodes.values():
            if other is not node and other.alive:
                self._connect_later(node.node_id, other.node_id)
                self._connect_later(other.node_id, node.node_id)

    def acquaintance_changed(self, source: str, target: str) -> None:
        if target in self.nodes:
            self._connect_later(source, target)
            self._connect_later(target, source)

    def _connect_later(self, source: str, target: str) -> None:
        """`source` notices that it has a connection to `target`, if it then has."""
        self.at(self.now + self.rng.random() * 0.2, lambda: self._notice(source, target))

    def _notice(self, source: str, target: str) -> None:
        node, other = self.nodes[source], self.nodes[target]
        if not node.alive:
            return
        acquainted = target in node.known and source in other.known
        up = other.alive and acquainted and (source, target) not in self._cut
        if up and target not in node.connected:
            self._epochs[source, target] += 1
            node.connected.add(target)
            node.post(lambda: node.core.connected(target))
        elif not up and target in node.connected:
            node.connected.discard(target)
            node.post(lambda: node.core.disconnected(target))

    def _set_cut(self, source: str, target: str, *, cut: bool) -> None:
        if cut == ((source, target) in self._cut):
            return
        (self._cut.add if cut else self._cut.discard)((source, target))
        self._epochs[source, target] += 1
        # A broken connection may go unnoticed for a while.
        delay = self.rng.random() * (3.0 if cut and self.rng.random() < 0.3 else 0.2)
        self.at(self.now + delay, lambda: self._notice(source, target))

    # --- what goes wrong

    def crash(self, node: SimNode) -> None:
        self.note(f"{node.node_id} crashes")
        self.checks.counts["crashes"] += 1
        node.stop()
        for other in self.nodes.values():
            self._epochs[node.node_id, other.node_id] += 1
            self._epochs[other.node_id, node.node_id] += 1
            if other.alive and other is not node:
                self.at(self.now + self.rng.random() * 0.3, self._noticer(other.node_id, node.node_id))
        self.at(self.now + self.rng.expovariate(0.7), self._starter(node))

    def _noticer(self, source: str, target: str) -> Callable[[], None]:
        return lambda: self._notice(source, target)

    def _alive(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.alive]

    def _crash_some(self) -> None:
        alive = self._alive()
        if not alive:
            return
        leading = [node for node in alive if node.core.raft.is_leader]
        dice = self.rng.random()
        if dice < 0.1:
            victims = alive
        elif dice < 0.2:
            victims = self.rng.sample(alive, max(1, len(alive) - 1))
        elif dice < 0.6 and leading:
            victims = [self.rng.choice(leading)]
        else:
            victims = [self.rng.choice(alive)]
        for node in victims:
            self.crash(node)

    def _arm_one(self) -> None:
        """Its power goes in the middle of something."""
        alive = self._alive()
        if alive:
            self.rng.choice(alive).fuses[self.rng.choice(PLACES)] = self.rng.randint(0, 3)

    def _cut_or_mend(self) -> None:
        self.checks.counts["cuts"] += 1
        names = sorted(self.nodes)
        victim = self.rng.choice(names)
        others = [name for name in names if name != victim]
        dice, cut = self.rng.random(), self.rng.random() < 0.7
        if dice < 0.2:
            some = self.rng.sample(names, len(names) // 2)
            rest = [name for name in names if name not in some]
            pairs = [pair for one in some for other in rest for pair in ((one, other), (other, one))]
        elif dice < 0.35:
            pairs = [(victim, other) for other in others] + [(other, victim) for other in others]
        elif dice < 0.5:
            pairs = [(victim, other) for other in others]
        elif dice < 0.65:
            pairs = [(other, victim) for other in others]
        else:
            other = self.rng.choice(others)
            pairs = [(victim, other), (other, victim)][: self.rng.randint(1, 2)]
        self.note(f"{'cut' if cut else 'mended'}: {pairs}")
        for source, target in pairs:
            self._set_cut(source, target, cut=cut)

    def _mend_all(self) -> None:
        for source, target in sorted(self._cut):
            self._set_cut(source, target, cut=False)

    def _wipe_one(self) -> None:
        """A disk is lost: one at a time, and not before the last one is made good."""
        members = {member.node_id for node in self._alive() for member in node.core.membership.current}
        nodes = [self.nodes[name] for name in sorted(members)]
        unproven = [node for node in nodes if node.disk.state is None or node.disk.state.phase is not Phase.PROVEN]
        victims = [node for node in nodes if node.node_id in {member.node_id for member in self.first_members}]
        if unproven or not victims:
            return
        node = self.rng.choice(victims)
        if node.alive:
            self.crash(node)
        self.note(f"{node.node_id} loses its disk")
        self.checks.counts["wipes"] += 1
        node.wipe(store_too=self.rng.random() < 0.6)

    # --- callers

    def _request_id(self) -> RequestId:
        self._requests += 1
        return RequestId(self._requests.to_bytes(16, "big"))

    def _propose_somewhere(self) -> None:
        alive = self._alive()
        if alive:
            self._propose(self.rng.choice(alive))

    def _propose(self, node: SimNode, also: Callable[[Outcome], None] = lambda _: None) -> None:
        request_id = self._request_id()
        data = b"x" * self.rng.randint(0, 40) + request_id
        self._ask(node, request_id, Kind.DATA, data, also)

    def _ask(
        self, node: SimNode, request_id: RequestId, kind: Kind, data: bytes, also: Callable[[Outcome], None]
    ) -> None:
        self.checks.counts["proposed"] += 1

        def on_outcome(outcome: Outcome) -> None:
            self.note(f"{node.node_id}: {int.from_bytes(request_id, 'big')} is {outcome}")
            self.at(self.now, lambda: self.checks.outcome(request_id, outcome, has_data=kind is Kind.DATA))
            also(outcome)

        deadline = self.now + self.rng.choice([0.3, 2.0, 8.0])
        proposal = Proposal(request_id=request_id, kind=kind, data=data, deadline=deadline, on_outcome=on_outcome)
        node.post(lambda: node.core.propose(proposal))

    def _barrier_somewhere(self) -> None:
        """What was acknowledged before it began is before it in the log."""
        alive = self._alive()
        if not alive:
            return
        acknowledged = max(self.checks.acknowledged.values(), default=0)

        def check(outcome: Outcome) -> None:
            if isinstance(outcome, Committed) and outcome.index < acknowledged:
                raise Violation(f"a barrier at {outcome.index} began after {acknowledged} was acknowledged")

        self._ask(self.rng.choice(alive), self._request_id(), Kind.NO_OP, b"", check)

    def _leader(self) -> SimNode | None:
        leading = [node for node in self._alive() if node.core.raft.is_leader]
        return self.rng.choice(leading) if leading else None

    def _change_members(self) -> None:
        leader = self._leader()
        if leader is None:
            return
        current = [member.node_id for member in leader.core.membership.current]
        add = remove = None
        if len(current) > 3 and (self.rng.random() < 0.5 or len(self.nodes) >= self.plan.nodes + 2):
            remove = self.rng.choice(current)
        else:
            absent = sorted(set(self.nodes) - set(current))
            name = self.rng.choice(absent) if absent else self._newcomer()
            add = Member(name, f"host{name[1:]}:1")
        self.checks.counts["membership"] += 1
        self.note(f"{leader.node_id} changes members: add {add}, remove {remove}")

        def on_outcome(outcome: object) -> None:
            self.note(f"{leader.node_id}: the change is {outcome}")
            self.checks.counts[f"membership {type(outcome).__name__}"] += 1

        change = MemberChange(
            request_id=self._request_id(), add=add, remove=remove, deadline=self.now + 5.0, on_outcome=on_outcome
        )
        leader.post(lambda: leader.core.change_members(change))

    def _newcomer(self) -> str:
        node = self._add_node(f"n{len(self.nodes)}")
        node.joins = True
        self._starter(node)()
        return node.node_id

    def _transfer(self) -> None:
        leader = self._leader()
        if leader is not None:
            to = self.rng.choice([None, *sorted(self.nodes)])

            def on_outcome(outcome: object) -> None:
                self.checks.counts[f"transfer {type(outcome).__name__}"] += 1

            transfer = Transfer(to=to, deadline=self.now + 3.0, on_outcome=on_outcome)
            leader.post(lambda: leader.core.transfer_leadership(transfer))


def _brief(message: AnyMessage) -> str:
    """A message in a line of the trace."""
    if isinstance(message, AppendEntries):
        terms = [term for term, _ in message.entries]
        return (
            f"AppendEntries(term={message.term}, after={message.prev_index}, {terms=}, commit={message.commit_index})"
        )
    if isinstance(message, Forward):
        return f"Forward(term={message.term}, {int.from_bytes(message.request_id, 'big')})"
    return str(message)[:160]


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def _virtual_time(world: World) -> Iterator[None]:
    """The library reads a clock of its own; nothing else in a run does. It also logs a great deal."""
    clock, disabled = library.monotonicTime, logging.root.manager.disable
    library.monotonicTime = lambda: world.now
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        library.monotonicTime = clock
        logging.disable(disabled)
