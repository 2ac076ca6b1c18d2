"""The log that several nodes share: a batch of commands is an entry of Raft, applied by every node in one order.

Everything here belongs to the driver's thread, but for what Raft calls: that is posted to it. A node has one batch
under way at a time. When its outcome is unclear the same batch is proposed again, and its number tells the nodes that
they have it: see `Batch`.
"""

from __future__ import annotations

import concurrent.futures
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from tempolite_node.engine import formats
from tempolite_node.engine.commands import AnyCommand, Batch
from tempolite_node.engine.effects import Admission
from tempolite_node.errors import NodeError, NoQuorum, OutcomeUnknown, Overloaded, Unavailable
from tempolite_node.log.base import StateMachine
from tempolite_node.log.raft.entries import REQUEST_ID_BYTES, Entry, RequestId
from tempolite_node.log.raft.errors import RaftBroken
from tempolite_node.log.raft.outcomes import Committed, NotLeader, Outcome
from tempolite_node.log.raft.raft_log import RaftConfig, RaftLog
from tempolite_node.log.raft.silence import PeerLiveness

logger = structlog.get_logger("log")

_ENTRY_COMMANDS_MAX = 2_000
_ENTRY_BYTES_MAX = 1024 * 1024  #: of several commands; one alone may be larger
#: Of the time after which others may take over: what is left is for a clock that runs slower than the leader's.
_CURRENT_SHARE = 0.8
_SET_BACK_AFTER_S = 60.0  #: in which all words of the leader show its clock behind what is believed
_LOOKS_UP_S = 0.5

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


class SnapshotStore(Protocol):
    def sync(self) -> None:
        """Returns when all that was saved before is on disk. From any thread, but while a snapshot is installed."""
        ...

    def make(self, to: Path) -> int:
        """Writes the store to a new file, complete and synced; returns the index that it is at. From any thread."""
        ...

    def install(self, snapshot: Path) -> None:
        """Makes the file the store, on disk when it returns. In the driver's thread."""
        ...


class ReplicatedLog:
    def __init__(
        self,
        machine: StateMachine,
        raft: RaftConfig,
        *,
        snapshots: SnapshotStore,
        boot_id: Callable[[], str],
        post: Callable[[Callable[[], None]], None],
        on_failure: Callable[[BaseException], None],
        on_removed: Callable[[], None],
        on_question: Callable[[str, bytes], bytes],
        wall_clock_ms: Callable[[], int],
        node_timeout_s: float,
        write_timeout_s: float,
    ) -> None:
        """boot_id: names the process, see `Batch`; from any thread. post: has something called in the driver's thread.

        on_failure, on_removed, on_question: called in other threads; see RaftLog.
        """
        self._machine = machine
        self._node_id = raft.node_id
        self._boot_id = boot_id
        self._post = post
        self._wall_clock_ms = wall_clock_ms
        self._current_s = node_timeout_s * _CURRENT_SHARE
        self._write_timeout_s = write_timeout_s
        self.raft = RaftLog(
            raft,
            _Consumer(self, machine, snapshots, post),
            on_failure=partial(self._failed, on_failure),
            on_leader=self._leader_changed,
            liveness=PeerLiveness(
                timeout_s=node_timeout_s,
                boot_id=boot_id,
                live_boot_ids=lambda: machine.live_boot_ids,
                on_silence=lambda node_id, silent: post(partial(machine.lost, node_id, silent)),
            ),
            on_removed=on_removed,
            on_question=on_question,
        )
        self.index = machine.applied_index
        self._sequence = 0
        self._sequence_of = ""
        self._open: _OpenBatch | None = None
        self._current_until_s = -float("inf")
        self._clock = LeadersClock()
        self._knows_own = False  #: a batch of this process was applied: what comes behind it is no old news
        self._owes_clock = False  #: as the leader: there is someone who has not heard of its clock
        self._stopping = False

    def start(self) -> None:
        """StartError: see RaftLog."""
        self.raft.start()

    def stop(self) -> None:
        self._stopping = True
        self.raft.stop()

    # --- what the driver asks

    @property
    def idle(self) -> bool:
        return self._open is None

    @property
    def leads(self) -> bool:
        return self.raft.is_leader

    @property
    def is_current(self) -> bool:
        """It had a batch ordered a moment ago, so no leader has missed it for as long as it takes to be given up."""
        return time.monotonic() < self._current_until_s

    def now_ms(self) -> int:
        """By the leader's clock, as far as it is known: what is due is due by that one."""
        return self._wall_clock_ms() + (0 if self.raft.is_leader else self._clock.offset_ms)

    def round_max(self, waiting: int) -> int:  # noqa: ARG002
        """There is one batch under way, so it takes along what it can."""
        return _ENTRY_COMMANDS_MAX

    def propose(self, commands: Sequence[AnyCommand]) -> int:
        if self._sequence_of != (boot_id := self._boot_id()):
            self._sequence_of, self._sequence = boot_id, 0
        self._sequence += 1
        encoded = _first_of(commands)
        batch = Batch(
            format=self._machine.format,
            node_id=self._node_id,
            boot_id=boot_id,
            sequence=self._sequence,
            at_ms=self._wall_clock_ms(),
            commands=tuple(commands[: len(encoded)]),
        )
        self._open = _OpenBatch(batch, _encoder.encode(replace(batch, commands=encoded)), time.monotonic())
        self._send(self._open)
        return len(encoded)

    def renew(self) -> None:
        if not self.is_current:
            self.propose(())

    def _send(self, batch: _OpenBatch) -> None:
        self.raft.propose(
            batch.data,
            request_id=_new_request(),
            timeout_s=self._write_timeout_s,
            on_outcome=lambda outcome: self._post(partial(self._came_to, batch, outcome)),
        )

    def saved(self) -> None:
        self.raft.wake()

    def when_durable(self, act: Callable[[], None], *, idle: bool) -> None:  # noqa: ARG002
        """At once: what is applied is on the disks of a majority, and is given again to a store that has lost it."""
        act()

    def catch_up(self, caught_up: Callable[[], None]) -> None:
        self.barrier(partial(self._caught_up, caught_up))

    def _caught_up(self, caught_up: Callable[[], None], error: NodeError | None) -> None:
        if error is None:
            caught_up()
        elif not self._stopping:
            given_up = NoQuorum(f"{error}; nothing was stored")
            self._machine.fail_pending(under_way=given_up, waiting=given_up)
            self.catch_up(caught_up)

    def barrier(self, answer: Callable[[NodeError | None], None]) -> None:
        self._send_barrier(answer, time.monotonic() + self._write_timeout_s)

    def _send_barrier(self, answer: Callable[[NodeError | None], None], deadline_s: float) -> None:
        try:
            self.raft.barrier(
                request_id=_new_request(),
                timeout_s=max(0.0, deadline_s - time.monotonic()),
                # What comes before it was handed over by then, and waits in the driver's queue ahead of this.
                on_outcome=lambda outcome: self._post(partial(self._passed, answer, deadline_s, outcome)),
            )
        except Overloaded as error:
            answer(error)

    def _passed(self, answer: Callable[[NodeError | None], None], deadline_s: float, outcome: Outcome) -> None:
        if isinstance(outcome, Committed):
            answer(None)
        elif self._stopping or time.monotonic() >= deadline_s:
            answer(NoQuorum(self._why_no_barrier()))
        else:
            self._send_barrier(answer, deadline_s)  # it may be lost with its leader; to ask again does no harm

    def _why_no_barrier(self) -> str:
        if self.raft.leader is None:
            return "no majority of the cluster's nodes answers"
        return "this node can't tell in time whether it has all that the cluster has stored"

    # --- what becomes of the batch under way

    def _came_to(self, batch: _OpenBatch, outcome: Outcome) -> None:
        if self._open is not batch or self._stopping:
            return  # it has been applied
        if isinstance(outcome, Committed):
            # It was ordered and not admitted: another process of this node has registered, or the node was removed.
            self._open = None
            self._machine.requeue()
            return
        batch.unclear = batch.unclear or not isinstance(outcome, NotLeader)
        if time.monotonic() - batch.proposed_s >= self._write_timeout_s:
            no_quorum = NoQuorum("no majority of the cluster's nodes answers; nothing was stored")
            unknown = OutcomeUnknown("no majority of the cluster's nodes answers; it may be stored, now or later")
            self._machine.fail_pending(under_way=unknown if batch.unclear else no_quorum, waiting=no_quorum)
        if batch.unclear:
            self._send(batch)
        else:
            self._open = None
            self._machine.requeue()

    # --- entries

    def delivered(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.index > self.index:
                self._apply(entry)
        self._share_clock()

    def _apply(self, entry: Entry) -> None:
        self.index = entry.index
        own = self._open if self._open is not None and self._open.data == entry.data else None
        batch = _decoded(entry) if own is None else own.batch
        if batch.node_id == self._node_id:
            self._knows_own |= batch.boot_id == self._sequence_of
        elif batch.node_id == self.raft.leader and self._knows_own:
            self._clock.on_message(batch.node_id, batch.at_ms - self._wall_clock_ms(), time.monotonic())
        self._owes_clock |= batch.sequence == 1
        match self._machine.admit(batch):
            case Admission.NEW:
                if own is not None:
                    self._open = None
                    self._current_until_s = own.proposed_s + self._current_s
                self._machine.apply(batch.commands, own=own is not None)
            case Admission.REPEATED:
                if own is not None:  # it came with the store of another node
                    self._open = None
                    self._machine.forget()
            case Admission.OUTDATED:
                pass  # if it is this node's, the outcome tells

    def _led_by(self, leader: str | None) -> None:
        self._owes_clock |= leader == self._node_id
        self._share_clock()

    def _share_clock(self) -> None:
        """A batch of nothing: those who hear seldom of the leader would go by another clock meanwhile."""
        if self._owes_clock and self._knows_own and self.idle and not self._stopping:
            self._owes_clock = False
            if self.raft.is_leader:
                self.propose(())

    # --- snapshots

    def installed(self, index: int) -> None:
        """The store is that of another node, at a later index."""
        self.index = index
        self._current_until_s = -float("inf")
        self._knows_own = False
        self._machine.reset(unclear=OutcomeUnknown("this node was behind; what was asked may be stored"))
        logger.info("this node was far behind: it has taken the store of another one", index=index)

    # --- in Raft's thread

    @property
    def is_stopping(self) -> bool:
        """The driver may not be there any more."""
        return self._stopping

    def _failed(self, on_failure: Callable[[BaseException], None], error: BaseException) -> None:
        self._stopping = True
        on_failure(error)

    def _leader_changed(self, leader: str | None, term: int) -> None:
        logger.info("the cluster's leader has changed", leader=leader, term=term)
        self._post(partial(self._led_by, leader))  # and to its duties, if it is this node


class _OpenBatch:
    """The batch of this node that is under way."""

    __slots__ = ("batch", "data", "proposed_s", "unclear")

    def __init__(self, batch: Batch, data: bytes, proposed_s: float) -> None:
        self.batch = batch
        self.data = data
        self.proposed_s = proposed_s
        self.unclear = False  #: it may have been ordered


class _Consumer:
    """What Raft sees of a node, and calls in its own threads."""

    def __init__(
        self,
        log: ReplicatedLog,
        machine: StateMachine,
        snapshots: SnapshotStore,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._log = log
        self._machine = machine
        self._snapshots = snapshots
        self._post = post

    @property
    def applied_index(self) -> int:
        return self._machine.applied_index

    def deliver(self, entries: Sequence[Entry]) -> None:
        self._post(partial(self._log.delivered, entries))

    def sync(self) -> None:
        self._snapshots.sync()

    def make_snapshot(self, path: Path) -> int:
        return self._snapshots.make(path)

    def install_snapshot(self, path: Path, index: int) -> None:
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._post(partial(self._install, path, index, done))
        while not done.done():
            if self._log.is_stopping:
                raise Unavailable("the node is stopping")
            concurrent.futures.wait([done], timeout=_LOOKS_UP_S)
        done.result()

    def _install(self, path: Path, index: int, done: concurrent.futures.Future[None]) -> None:
        """In the driver's thread."""
        try:
            self._snapshots.install(path)
            self._log.installed(index)
        except BaseException as error:
            done.set_exception(error)
            raise
        done.set_result(None)


class LeadersClock:
    """How far the leader's clock is ahead of this node's: the most that its entries showed.

    An entry is on its way for a while, so each shows too little, by as much as it took: by minutes, when this node
    stood still for so long. So what was shown before is kept, until all entries of a whole minute have shown less: then
    a clock was set.
    """

    def __init__(self) -> None:
        self._leader = ""
        self._less_ms: int | None = None  #: the most that was shown since less than the offset was, at this time:
        self._less_since_s = 0.0
        self.offset_ms = 0

    def on_message(self, leader: str, ahead_ms: int, now_s: float) -> None:
        """now_s: of a monotonic clock."""
        if leader != self._leader or ahead_ms >= self.offset_ms:
            self._believe(leader, ahead_ms)
            return
        if self._less_ms is None:
            self._less_ms, self._less_since_s = ahead_ms, now_s
        self._less_ms = max(self._less_ms, ahead_ms)
        if now_s - self._less_since_s >= _SET_BACK_AFTER_S:
            self._believe(leader, self._less_ms)

    def _believe(self, leader: str, ahead_ms: int) -> None:
        self._leader, self.offset_ms, self._less_ms = leader, ahead_ms, None


def _first_of(commands: Sequence[AnyCommand]) -> tuple[msgspec.Raw, ...]:
    """As many of the commands as an entry takes, each encoded."""
    encoded: list[msgspec.Raw] = []
    size = 0
    for command in commands[:_ENTRY_COMMANDS_MAX]:
        data = _encoder.encode(command)
        size += len(data)
        if encoded and size > _ENTRY_BYTES_MAX:
            break
        encoded.append(msgspec.Raw(data))
    return tuple(encoded)


def _decoded(entry: Entry) -> Batch:
    try:
        batch = _decoder.decode(entry.data)
    except msgspec.DecodeError as error:
        message = f"entry {entry.index} can't be read: {error}; was it written by a later version?"
        raise RaftBroken(message) from error
    if batch.format > formats.FORMAT:
        raise RaftBroken(f"entry {entry.index} has format {batch.format}, of a later version: upgrade this node")
    return batch


def _new_request() -> RequestId:
    return RequestId(secrets.token_bytes(REQUEST_ID_BYTES))
