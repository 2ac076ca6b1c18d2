"""The replicated log as a node uses it: a thread around the core, and calls into it from any other thread."""

from __future__ import annotations

import concurrent.futures
import logging
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar

from tempolite_node.errors import Overloaded, StartError, Unavailable
from tempolite_node.log.raft import guards
from tempolite_node.log.raft.core import Identity, RaftCore, RaftStateMachine
from tempolite_node.log.raft.entries import REQUEST_ID_BYTES, Kind, Member, Members, RequestId
from tempolite_node.log.raft.errors import EntryTooLarge
from tempolite_node.log.raft.log_file import LogFile
from tempolite_node.log.raft.log_store import LogStore
from tempolite_node.log.raft.membership import MemberChange
from tempolite_node.log.raft.messages import AnyMessage
from tempolite_node.log.raft.outcomes import LogStatus, MembershipOutcome, NotLeader, Outcome, TransferOutcome
from tempolite_node.log.raft.peering import PeerSecurity, check_addresses
from tempolite_node.log.raft.proposals import Proposal
from tempolite_node.log.raft.silence import NOBODY_IS_WATCHED, PeerLiveness
from tempolite_node.log.raft.timing import Limits, Timing
from tempolite_node.log.raft.transfer import Transfer
from tempolite_node.log.raft.transport import PeeringConfig, Transport

logger = logging.getLogger(__name__)

JOURNAL = "raft.db"
SNAPSHOTS = "snapshots"

_INPUTS_MAX = 4_096  #: taken at once, so that heartbeats are not held up by what comes in

T = TypeVar("T")


def _nothing() -> None:
    pass


class _Input(NamedTuple):
    """What the thread shall do, and what instead if it comes too late for that."""

    call: Callable[[RaftCore], object]
    too_late: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    cluster: str
    node_id: str
    listen: str  #: "host:port" of the peers' port
    directory: Path  #: of this node alone; the caller has it locked
    members: Members  #: of a new cluster, the same on every node; for a node that joins, those that it asks
    join: bool = False  #: this node is added to a cluster that runs; it waits until it is
    security: PeerSecurity | None = None  #: None: loopback only
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        ids = [member.node_id for member in self.members]
        addresses = [member.address for member in self.members]
        if len(set(ids)) < len(ids) or len(set(addresses)) < len(addresses):
            raise StartError(f"two members of cluster {self.cluster!r} have one id or one address: {self.members}")
        if not self.join and self.node_id not in ids:
            raise StartError(f"{self.node_id} is not among the members of cluster {self.cluster!r}: {', '.join(ids)}")


class RaftLog:
    """Everything but `start` and `stop` may be called from any thread. Callbacks come from the raft thread: they must
    be quick and must not wait for the log."""

    def __init__(
        self,
        config: RaftConfig,
        machine: RaftStateMachine,
        *,
        on_failure: Callable[[BaseException], None],
        on_leader: Callable[[str | None, int], None] = lambda _leader, _term: None,
        liveness: PeerLiveness = NOBODY_IS_WATCHED,
        on_removed: Callable[[], None] = _nothing,
        on_question: Callable[[str, bytes], bytes] = lambda _peer, _question: b"",
    ) -> None:
        """on_failure: the log can't go on, and the node must stop: nothing more is acknowledged.

        on_leader: who leads has changed, as far as this node knows; None: nobody. With the term.
        liveness: which processes of members count, and what becomes of one that is silent; see there.
        on_removed: this node has been removed from the cluster, as a majority of its members says.
        on_question: what a peer asks beside the log, and the answer. Called in a thread of its own, and may block.
        """
        self._config = config
        self.security = config.security  #: the one in use
        self._machine = machine
        self._on_failure = on_failure
        self._on_leader = on_leader
        self._liveness = liveness
        self._on_removed = on_removed
        self._on_question = on_question
        self._inputs: SimpleQueue[_Input] = SimpleQueue()
        self._bound = _Bound(config.limits)
        self._incarnation = secrets.randbits(60)
        self._transport = Transport(
            PeeringConfig(
                cluster=config.cluster,
                node_id=config.node_id,
                listen=config.listen,
                incarnation=self._incarnation,
                security=config.security,
                limits=config.limits,
            ),
            self,
        )
        self._core: RaftCore | None = None
        self._stopping = False
        self._ended = False
        self._known_leader: tuple[str | None, int] = (None, 0)
        self._thread = threading.Thread(target=self._run, daemon=True, name="raft")

    def trust(self, security: PeerSecurity) -> None:
        """Other certificates for the connections with peers that are made from now on."""
        self.security = security
        self._transport.trust(security)

    # --- start and stop

    def start(self) -> None:
        """StartError, with what to do: the journal or the peers' address can't be used, or peers can't be trusted."""
        config = self._config
        check_addresses(config.listen, config.members, config.security)
        snapshots = config.directory / SNAPSHOTS
        snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        core = self._open(snapshots)  # first, so that the transport knows whom to let in
        try:
            self._transport.start()
        except BaseException:
            self._transport.stop()
            core.stop()
            raise
        self._core = core
        self._thread.start()

    def _open(self, snapshots: Path) -> RaftCore:
        config = self._config
        bootstrap = () if config.join else tuple(sorted(config.members))
        disk = LogFile(config.directory / JOURNAL, cluster=config.cluster, node_id=config.node_id)
        try:
            return RaftCore(
                Identity(
                    node_id=config.node_id,
                    bootstrap=bootstrap,
                    seeds=tuple(sorted(config.members)),
                    incarnation=self._incarnation,
                ),
                journal=LogStore(disk, bootstrap),
                machine=self._machine,
                peers=self._transport,
                background=self,
                snapshot_directory=snapshots,
                timing=config.timing,
                limits=config.limits,
                clock=guards.now,
                rng=random.Random(secrets.randbits(64)),
                liveness=self._liveness,
            )
        except BaseException:
            disk.close()
            raise

    def stop(self) -> None:
        """Ends the thread and the connections. Those who wait are told that the outcome is unknown."""
        self._put(lambda _: self._stop())
        if self._thread.ident is not None:
            self._thread.join()
        self._transport.stop()

    def _stop(self) -> None:
        self._stopping = True

    # --- what may be asked of it

    def propose(
        self, data: bytes, *, request_id: RequestId, timeout_s: float, on_outcome: Callable[[Outcome], None]
    ) -> None:
        """Wants an entry ordered. On a node that does not lead it goes to the leader, and if there is none it waits
        for one until its time is over.

        request_id: 16 bytes, never used for something else; comes back with the entry on every node.
        Overloaded, EntryTooLarge: nothing was stored.
        """
        if len(data) > self._config.limits.entry_bytes_max:
            raise EntryTooLarge(f"an entry of {len(data)} bytes; at most {self._config.limits.entry_bytes_max}")
        self._propose(Kind.DATA, data, request_id, timeout_s, on_outcome)

    def barrier(self, *, request_id: RequestId, timeout_s: float, on_outcome: Callable[[Outcome], None]) -> None:
        """Committed(index): whoever has applied up to `index` sees everything acknowledged before the call.

        A linearizable read waits for that and then reads the local store.
        Overloaded: too many proposals wait.
        """
        self._propose(Kind.NO_OP, b"", request_id, timeout_s, on_outcome)

    def _propose(
        self,
        kind: Kind,
        data: bytes,
        request_id: RequestId,
        timeout_s: float,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        assert len(request_id) == REQUEST_ID_BYTES, f"a request id has {REQUEST_ID_BYTES} bytes, not {len(request_id)}"
        size = len(data)
        self._bound.enter(size)

        def outcome(result: Outcome) -> None:
            self._bound.leave(size)
            on_outcome(result)

        deadline = guards.now() + timeout_s
        proposal = Proposal(request_id=request_id, kind=kind, data=data, deadline=deadline, on_outcome=outcome)
        self._put(lambda core: core.propose(proposal), lambda: outcome(NotLeader(None)))

    def add_member(self, member: Member, *, timeout_s: float, on_outcome: Callable[[MembershipOutcome], None]) -> None:
        """At the leader. The node must run already, with `join`; it becomes a member when it has caught up."""
        self._change_members(timeout_s, on_outcome, add=member)

    def remove_member(self, node_id: str, *, timeout_s: float, on_outcome: Callable[[MembershipOutcome], None]) -> None:
        """At the leader, and not the leader itself: transfer the leadership first."""
        self._change_members(timeout_s, on_outcome, remove=node_id)

    def _change_members(
        self,
        timeout_s: float,
        on_outcome: Callable[[MembershipOutcome], None],
        *,
        add: Member | None = None,
        remove: str | None = None,
    ) -> None:
        change = MemberChange(
            request_id=RequestId(secrets.token_bytes(REQUEST_ID_BYTES)),
            add=add,
            remove=remove,
            deadline=guards.now() + timeout_s,
            on_outcome=on_outcome,
        )
        self._put(lambda core: core.change_members(change), lambda: on_outcome(NotLeader(None)))

    def transfer_leadership(
        self, to: str | None = None, *, timeout_s: float, on_outcome: Callable[[TransferOutcome], None]
    ) -> None:
        """At the leader. Without `to`, whoever has most of the log. Proposals wait meanwhile."""
        transfer = Transfer(to=to, deadline=guards.now() + timeout_s, on_outcome=on_outcome)
        self._put(lambda core: core.transfer_leadership(transfer), lambda: on_outcome(NotLeader(None)))

    def ask(self, peer: str, question: bytes, timeout_s: float) -> bytes:
        """Asks another node something beside the log. Blocks. NotAnswered: it does not answer, or not in time."""
        return self._transport.ask(peer, question, timeout_s)

    @property
    def node_id(self) -> str:
        return self._config.node_id

    @property
    def leader(self) -> str | None:
        """Who leads, as far as this node knew at the last tick."""
        return self._known_leader[0]

    @property
    def is_leader(self) -> bool:
        return self._known_leader[0] == self._config.node_id

    @property
    def port(self) -> int:
        """Of the peers' address."""
        return self._transport.port

    def status(self, timeout_s: float = 5.0) -> LogStatus:
        """Waits for the raft thread; not to be called from it. Unavailable: it stops, or does not answer in time."""
        answer: concurrent.futures.Future[LogStatus] = concurrent.futures.Future()
        self._put(lambda core: answer.set_result(core.status()), lambda: answer.cancel())
        try:
            return answer.result(timeout_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as error:
            raise Unavailable("the log of this node does not answer; it is stopping or overloaded") from error

    def wake(self) -> None:
        """The consumer has applied what it had: there may be room for more. Without it that shows a tick later."""
        self._put(lambda _: None)

    # --- into the thread

    def _put(self, call: Callable[[RaftCore], object], too_late: Callable[[], object] = _nothing) -> None:
        self._inputs.put(_Input(call, too_late))
        if self._ended:
            self._refuse_what_is_left()

    def peer_connected(self, peer: str) -> None:
        self._put(lambda core: core.connected(peer))

    def peer_disconnected(self, peer: str) -> None:
        self._put(lambda core: core.disconnected(peer))

    def peer_said(self, peer: str, messages: list[AnyMessage]) -> None:
        def receive(core: RaftCore) -> None:
            for message in messages:
                core.receive(peer, message)

        self._put(receive)

    def peer_asked(self, peer: str, question: bytes) -> bytes:
        return self._on_question(peer, question)

    def run(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Snapshots are made beside the raft thread, which has heartbeats to send (snapshots.Background)."""

        def work_and_tell() -> None:
            result: T | Exception
            try:
                result = work()
            except Exception as error:
                result = error
            self._put(lambda _: done(result))

        threading.Thread(target=work_and_tell, daemon=True, name="raft-snapshot").start()

    # --- the thread

    def _run(self) -> None:
        core = self._core
        assert core is not None, "the log was not opened"
        try:
            wait = 0.0
            while not self._stopping:
                self._take(core, wait)
                core.tick()
                self._notify_leader(core)
                for peer, boot_id in core.silent():
                    self._liveness.on_silence(peer, boot_id)
                if core.raft.leader is None and core.was_removed(self._transport.strangers()):
                    self._on_removed()
                wait = 0.0 if core.is_busy else self._config.timing.tick_s
        except BaseException as error:
            logger.critical("the replicated log stops: %s: %s", type(error).__name__, error)
            self._on_failure(error)
        finally:
            core.stop()
            self._ended = True
            self._refuse_what_is_left()

    def _take(self, core: RaftCore, wait: float) -> None:
        """Everything that waits; if nothing does, what comes next."""
        try:
            given = self._inputs.get(timeout=wait) if wait else self._inputs.get_nowait()
            given.call(core)
            for _ in range(_INPUTS_MAX):
                self._inputs.get_nowait().call(core)
        except Empty:
            pass

    def _notify_leader(self, core: RaftCore) -> None:
        known = (core.raft.leader, core.raft.term)
        if known != self._known_leader:
            self._known_leader = known
            self._on_leader(*known)

    def _refuse_what_is_left(self) -> None:
        try:
            while True:
                self._inputs.get_nowait().too_late()
        except Empty:
            pass


class _Bound:
    """How much may wait on this node."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0

    def enter(self, size: int) -> None:
        with self._lock:
            # What has no bytes needs none of their room: a barrier passes behind an entry that fills all of it.
            full = self._count and size and self._bytes + size > self._limits.proposals_bytes
            if full or self._count >= self._limits.proposals:
                raise Overloaded(
                    f"{self._count} proposals with {self._bytes} bytes wait to be ordered; try again later"
                )
            self._count += 1
            self._bytes += size

    def leave(self, size: int) -> None:
        with self._lock:
            self._count -= 1
            self._bytes -= size
