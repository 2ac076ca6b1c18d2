"""This node among the others: what it asks of them beside the log, what they ask of it, and what operators ask."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from tempolite_node.config import ClusterConfig
from tempolite_node.engine.commands import RemoveNode
from tempolite_node.errors import NodeError, NoQuorum, OutcomeUnknown, Unavailable, WrongState
from tempolite_node.explain.facts import Look
from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.outcomes import (
    Committed,
    LogStatus,
    MembershipOutcome,
    NotLeader,
    PeerStatus,
    Refused,
    TransferOutcome,
    Transferred,
)
from tempolite_node.log.raft.raft_log import RaftLog
from tempolite_node.log.raft.transport import NotAnswered
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.protocol.messages import Violation
from tempolite_node.store.writer import StoreWriter
from tempolite_node.supervisor.supervisor import Supervisor
from tempolite_node.views import ClusterState, MemberState

logger = structlog.get_logger("cluster")

_CHECK_S = 5.0
_LOOK_S = 3.0
_REMOVAL_S = 60.0
_TRANSFER_S = 10.0

Calls = Sequence[tuple[str, bytes]]
Violations = Sequence[Sequence[Violation]]


# --- what nodes ask of each other


class CheckArguments(Struct, frozen=True, tag=True):
    calls: tuple[tuple[str, bytes], ...]  #: handlers that the node serves, with their arguments


class CheckSignal(Struct, frozen=True, tag=True):
    """Is this the payload of a signal that a handler, which the node serves, declares? Known from format 2 on."""

    handler: str
    name: str
    payload: bytes


class LookAt(Struct, frozen=True, tag=True):
    """What does the node know of these executions, which it owns, beside the store? A node of an earlier version has
    no answer."""

    execution_ids: tuple[str, ...]


class AddMember(Struct, frozen=True, tag=True):
    node_id: str
    address: str
    catch_up_s: float = 60.0


class RemoveMember(Struct, frozen=True, tag=True):
    node_id: str


class TransferLeadership(Struct, frozen=True, tag=True):
    to: str | None


class Checked(Struct, frozen=True, tag=True):
    violations: tuple[tuple[Violation, ...], ...]


class Looked(Struct, frozen=True, tag=True):
    look: Look


class Done(Struct, frozen=True, tag=True):
    leader: str = ""  #: of a transfer


class Failed(Struct, frozen=True, tag=True):
    error: str  #: name of the error's class
    message: str


Question = CheckArguments | CheckSignal | LookAt | AddMember | RemoveMember | TransferLeadership
Answer = Checked | Looked | Done | Failed

_ERRORS: Mapping[str, type[NodeError]] = {
    error.__name__: error for error in (Unavailable, NoQuorum, OutcomeUnknown, WrongState)
}
_question = msgspec.msgpack.Decoder(Question)
_answer = msgspec.msgpack.Decoder(Answer)


class Cluster:
    """Belongs to the event loop's thread, but for `answer`."""

    def __init__(
        self,
        config: ClusterConfig,
        raft: RaftLog,
        *,
        executions: StoreWriter,
        driver: DriverClient,
        supervisor: Supervisor,
        own_look: Callable[[Sequence[str]], Awaitable[Look]],
    ) -> None:
        """executions: but for its nodes, inspected in the driver's thread alone.

        own_look: what this node knows of executions.
        """
        self.own_look = own_look
        self._config = config
        self._raft = raft
        self._executions = executions
        self._nodes = executions.nodes
        self._driver = driver
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        # Questions block; they must not wait for those who read the store.
        self._asking = concurrent.futures.ThreadPoolExecutor(16, thread_name_prefix="asks-peer")

    def stop(self) -> None:
        self._asking.shutdown(wait=False, cancel_futures=True)

    # --- who there is

    def leader_api_address(self) -> str | None:
        leader = self._raft.leader
        return None if leader is None else self._api_address(leader) or None

    def _api_address(self, node_id: str) -> str:
        """As the node says itself, else as the config of this one does."""
        node = self._nodes().get(node_id)
        if node is not None and node.address:
            return node.address
        return next((str(each.advertise) for each in self._config.nodes if each.id == node_id), "")

    async def state(self) -> ClusterState:
        status = await self._loop.run_in_executor(self._asking, self._raft.status)
        counts = await self._driver.inspect(self._executions.open_by_owner)
        peers = {peer.node_id: peer for peer in status.peers}
        ids = sorted({*status.members, *peers})
        return ClusterState(
            name=self._config.name,
            node_id=status.node_id,
            leader=status.leader,
            leader_api_address=None if status.leader is None else self._api_address(status.leader) or None,
            role=status.role,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            members=tuple(self._member(node_id, status, peers.get(node_id), counts) for node_id in ids),
        )

    def _member(
        self, node_id: str, status: LogStatus, peer: PeerStatus | None, counts: Mapping[str, int]
    ) -> MemberState:
        """peer: None: it is this node."""
        node = self._nodes().get(node_id)
        leads = status.role == "leader"
        own = next((str(each.peers) for each in self._config.nodes if each.id == node_id), "")
        return MemberState(
            node_id=node_id,
            address=own if peer is None else peer.address,
            api_address=self._api_address(node_id),
            live=node is not None and node.live,
            draining=node is not None and node.draining,
            votes=node_id in status.members if peer is None else peer.votes,
            connected=peer is None or peer.connected,
            refused=None if peer is None else peer.refused,
            matched_index=peer.matched_index if peer is not None else status.last_index if leads else None,
            lag=peer.lag if peer is not None else 0 if leads else None,
            incarnation=0 if node is None else node.incarnation,
            handlers=() if node is None else tuple(sorted(served.name for served in node.handlers)),
            open_executions=counts.get(node_id, 0),
            workers={} if node is None else node.slots,
        )

    # --- arguments of handlers that others serve

    async def check_arguments(self, calls: Calls) -> Violations:
        """Each call's mistakes, found by a node that serves its handler.

        Where no such node is up nobody can tell; the attempt will. Unavailable: one is up, and does not answer.
        """
        checked: list[Sequence[Violation]] = [()] * len(calls)
        by_node: dict[str | None, list[int]] = {}
        for index, (handler, _) in enumerate(calls):
            by_node.setdefault(self._checker(handler), []).append(index)
        for node_id, indices in by_node.items():
            if node_id is None:
                continue
            found = await self._check_at(node_id, [calls[index] for index in indices])
            for index, violations in zip(indices, found, strict=True):
                checked[index] = violations
        return checked

    def _checker(self, handler: str) -> str | None:
        own = self._raft.node_id
        if self._supervisor.serves(handler):
            return own
        return next((node.id for node in self._nodes().values() if node.live and node.serves(handler)), None)

    async def _check_at(self, node_id: str, calls: Calls) -> Violations:
        if node_id == self._raft.node_id:
            return await self._supervisor.check_arguments(calls)
        answer = await self._ask(node_id, CheckArguments(tuple(calls)), _CHECK_S)
        if not isinstance(answer, Checked) or len(answer.violations) != len(calls):
            raise Unavailable(f"node {node_id} did not check the arguments: {answer}")
        return answer.violations

    async def check_signal(self, handler: str, name: str, payload: bytes) -> Sequence[Violation]:
        """As `check_arguments`, of a signal that the handler declares."""
        node_id = self._checker(handler)
        node = None if node_id is None else self._nodes().get(node_id)
        if node is None or node.format < 2:
            return ()
        answer = await self._ask(node.id, CheckSignal(handler, name, payload), _CHECK_S)
        if not isinstance(answer, Checked) or len(answer.violations) != 1:
            raise Unavailable(f"node {node.id} did not check the signal: {answer}")
        return answer.violations[0]

    # --- what others know of executions that they own

    async def look(self, node_id: str, execution_ids: Sequence[str]) -> Look | None:
        """None: it does not answer."""
        try:
            answer = await self._ask(node_id, LookAt(tuple(execution_ids)), _LOOK_S)
        except Unavailable:
            return None
        return answer.look if isinstance(answer, Looked) else None

    # --- changes of the members; at the leader, or handed on to it

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        await self._at_leader(AddMember(node_id, address, catch_up_s))

    async def remove_member(self, node_id: str) -> None:
        await self._at_leader(RemoveMember(node_id))

    async def transfer_leadership(self, to: str | None) -> str:
        answer = await self._at_leader(TransferLeadership(to))
        return answer.leader

    async def _at_leader(self, question: AddMember | RemoveMember | TransferLeadership) -> Done:
        leader = self._raft.leader
        if leader is None:
            raise NoQuorum("no node leads the cluster now: a majority of its members does not answer")
        if leader == self._raft.node_id:
            return await self._change(question)
        answer = await self._ask(leader, question, _patience_s(question) + _CHECK_S)
        if isinstance(answer, Failed):
            raise _ERRORS.get(answer.error, Unavailable)(answer.message)
        assert isinstance(answer, Done), f"{leader} answers {question} with {answer}"
        return answer

    async def _change(self, question: AddMember | RemoveMember | TransferLeadership) -> Done:
        match question:
            case AddMember(node_id, address, catch_up_s):
                await self._add(Member(node_id, address), catch_up_s)
                return Done()
            case RemoveMember(node_id):
                await self._remove(node_id)
                return Done()
            case TransferLeadership(to):
                return Done(leader=await self._transfer(to))

    async def _add(self, member: Member, catch_up_s: float) -> None:
        outcome = await self._outcome(
            lambda on_outcome: self._raft.add_member(member, timeout_s=catch_up_s, on_outcome=on_outcome)
        )
        _raise_unless_done(outcome)
        logger.info("a member was added", member=member.node_id, address=member.address)

    async def _remove(self, node_id: str) -> None:
        status = await self._loop.run_in_executor(self._asking, self._raft.status)
        known = {*status.members, *(peer.node_id for peer in status.peers), *self._nodes()}
        if node_id not in known:
            return  # nobody knows of it: it was removed by this call, which is repeated, or never added
        outcome = await self._outcome(
            lambda on_outcome: self._raft.remove_member(node_id, timeout_s=_REMOVAL_S, on_outcome=on_outcome)
        )
        _raise_unless_done(outcome)
        # Its executions go elsewhere. If this node dies right here, the operator's repeat does it.
        await self._driver.submit(RemoveNode(at_ms=self._driver.now_ms(), node_id=node_id))
        logger.info("a member was removed", member=node_id)

    async def _transfer(self, to: str | None) -> str:
        outcome: TransferOutcome = await self._outcome(
            lambda on_outcome: self._raft.transfer_leadership(to, timeout_s=_TRANSFER_S, on_outcome=on_outcome)
        )
        match outcome:
            case Transferred(leader):
                return leader
            case Refused(reason):
                raise WrongState(reason)
            case NotLeader():
                raise Unavailable("the leader has changed meanwhile; repeat it")

    async def _outcome(self, begin: Callable[[Callable[[Any], None]], None]) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def resolve(outcome: Any) -> None:
            if not future.done():
                future.set_result(outcome)

        begin(lambda outcome: self._call_soon(resolve, outcome))
        return await future

    def _call_soon(self, call: Callable[[Any], None], value: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, value)

    # --- asking, and being asked

    async def _ask(self, peer: str, question: Question, timeout_s: float) -> Answer:
        data = msgspec.msgpack.encode(question)
        try:
            reply = await self._loop.run_in_executor(self._asking, self._raft.ask, peer, data, timeout_s)
            answer: Answer = _answer.decode(reply)
        except (NotAnswered, msgspec.DecodeError) as error:
            raise Unavailable(str(error)) from error
        return answer

    def answer(self, peer: str, data: bytes) -> bytes:
        """Called in a thread of gRPC."""
        try:
            question = _question.decode(data)
            answering = asyncio.run_coroutine_threadsafe(self._answered(question), self._loop)
            answer: Answer = answering.result(_patience_s(question) + _CHECK_S)
        except NodeError as error:
            answer = Failed(type(error).__name__, str(error))
        except (msgspec.DecodeError, TimeoutError, concurrent.futures.CancelledError, RuntimeError) as error:
            logger.warning("a peer's question is not answered", peer=peer, error=repr(error))
            answer = Failed("Unavailable", f"{self._raft.node_id} can't answer: {error}")
        return msgspec.msgpack.encode(answer)

    async def _answered(self, question: Question) -> Answer:
        if isinstance(question, CheckArguments):
            return await self._checked(question.calls)
        if isinstance(question, CheckSignal):
            violations = await self._supervisor.check_signal(question.handler, question.name, question.payload)
            return Checked((tuple(violations),))
        if isinstance(question, LookAt):
            return Looked(await self.own_look(question.execution_ids))
        return await self._change(question)

    async def _checked(self, calls: Calls) -> Answer:
        if missing := [handler for handler, _ in calls if not self._supervisor.serves(handler)]:
            return Failed("Unavailable", f"{self._raft.node_id} does not serve {', '.join(missing)}")
        violations = await self._supervisor.check_arguments(calls)
        return Checked(tuple(tuple(each) for each in violations))


def _patience_s(question: Question) -> float:
    """What it may take, in the end, to answer it."""
    match question:
        case CheckArguments() | CheckSignal():
            return _CHECK_S
        case LookAt():
            return _LOOK_S
        case AddMember(catch_up_s=catch_up_s):
            return catch_up_s
        case RemoveMember():
            return _REMOVAL_S
        case TransferLeadership():
            return _TRANSFER_S


def _raise_unless_done(outcome: MembershipOutcome) -> None:
    match outcome:
        case Committed():
            return
        case Refused(reason):
            raise WrongState(reason)
        case NotLeader():
            raise Unavailable("the leader has changed meanwhile; repeat it")
        case _:
            raise OutcomeUnknown(f"it is not known whether the members were changed: {outcome.reason}")
