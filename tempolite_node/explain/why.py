"""From facts to an explanation: one function for each place in which an execution may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from tempolite_node.engine.model import (
    Component,
    Execution,
    Failure,
    Operation,
    OperationKind,
    Status,
    operation_id,
)
from tempolite_node.explain import words
from tempolite_node.explain.facts import OPERATIONS_MAX, SHOWN_MAX, Known, Look, PoolLook, RunLook, Stored
from tempolite_node.explain.model import AHEAD_MAX, Cause, CauseKind, Explanation
from tempolite_sdk.names import near

_CHAIN_MAX = 5  #: executions that one sentence follows
_FAILURE_MAX = 200  #: characters of an error in a sentence

_CANCEL = "cancel it, or terminate it"


def explain(found: Stored, known: Known) -> Explanation:
    execution = found.execution
    causes = tuple(_causes(found, known))
    next, next_ms = _next(execution, causes, known.now_ms)
    return Explanation(
        execution_id=execution.id,
        handler=execution.handler,
        status=execution.status,
        sentence=f"{execution.handler} {execution.id} {_told(causes, known.now_ms)}",
        causes=causes,
        next=next,
        next_ms=next_ms,
        actions=_actions(causes),
        time_spent=found.time_spent,
    )


# --- the sentence


def _told(causes: Sequence[Cause], now_ms: int, depth: int = 1) -> str:
    first = causes[0]
    text = f"{first.text}{words.since(first.since_ms, now_ms)}".rstrip(",")
    if first.awaited is not None and first.awaited.causes:
        below = first.awaited
        told = _told(below.causes, now_ms, depth + 1) if depth < _CHAIN_MAX else f"is {below.status}"
        text += f", which {told}"
    elif first.kind is CauseKind.SIGNAL and first.names:
        text += f"; {_unread_told(first)}"
    others = len(causes) - 1
    return text if not others else f"{text}; and {words.count(others, 'other cause')}"


def _unread_told(cause: Cause) -> str:
    """cause: a signal that is missing, while others lie in the inbox."""
    meant = near(cause.name, cause.names)
    more = len(cause.names) > SHOWN_MAX
    shown = words.names([f'"{name}"' for name in ([meant] if meant else cause.names[:SHOWN_MAX])], more=more)
    told = words.count(len(cause.names), "unread signal")
    return f"{told} {shown}" + (": was that meant?" if meant else "")


def _next(execution: Execution, causes: Sequence[Cause], now_ms: int) -> tuple[str, int | None]:
    """What comes by itself first."""
    dues = [(each.until_ms, _over(each)) for each in causes if each.until_ms is not None]
    if execution.deadline_ms is not None and not execution.closed:
        dues.append((execution.deadline_ms, "its max_duration is over, and it ends as timed out"))
    if not dues:
        below = next((each.awaited for each in causes if each.awaited is not None and each.awaited.next), None)
        return ("", None) if below is None else (f"{below.execution_id}: {below.next}", below.next_ms)
    due_ms, text = min(dues)
    return f"{text} ({words.due(due_ms, now_ms)})", due_ms


def _over(cause: Cause) -> str:
    match cause.kind:
        case CauseKind.DELAY:
            return "its first attempt is queued"
        case CauseKind.BACKOFF:
            return "the next attempt is made"
        case CauseKind.RATE_LIMIT:
            return f"the rate limit of pool {cause.name} lets the next one start"
        case CauseKind.TIMER:
            return "its timer is over"
        case _:
            return "the wait times out"


def _actions(causes: Sequence[Cause]) -> tuple[str, ...]:
    told: dict[str, None] = {}
    for each in causes:
        told |= dict.fromkeys(each.actions)
        if each.awaited is not None:
            told |= dict.fromkeys(each.awaited.actions)
    return tuple(told)


# --- the causes


def _causes(found: Stored, known: Known) -> Iterator[Cause]:
    execution = found.execution
    if execution.closed:
        yield _ended(found)
        return
    if known.no_quorum:
        actions = ("start the nodes that are down, or mend the network between them",)
        text = f"can't go on: its cluster has no quorum ({known.no_quorum})"
        yield Cause(kind=CauseKind.NO_QUORUM, text=text, actions=actions)
    match execution.status:
        case Status.SCHEDULED:
            yield _scheduled(found, known)
        case Status.QUEUED:
            yield from _queued(found, known)
        case Status.RUNNING | Status.WAITING:
            yield from _under_way(found, known)
        case Status.COMPENSATING:
            yield from _compensating(found, known)
        case Status.STUCK:
            yield _stuck(found)
        case _:
            yield _suspended(found)


def _ended(found: Stored) -> Cause:
    execution = found.execution
    text = f"has ended: {execution.status.replace('_', ' ')}"
    if execution.failure is not None:
        text += f" with {_failure_told(execution.failure)}"
    if execution.reason:
        text += f" ({execution.reason})"
    if found.last_run:
        text += f"; {found.last_run} goes on in its place"
    return Cause(
        kind=CauseKind.ENDED,
        text=text + ",",
        since_ms=execution.closed_ms,
        name=found.last_run,
        failure=execution.failure,
    )


def _scheduled(found: Stored, known: Known) -> Cause:
    execution = found.execution
    if not execution.failures or execution.due_ms is None:
        told = "" if execution.due_ms is None else f": it is due {words.due(execution.due_ms, known.now_ms)}"
        return Cause(
            kind=CauseKind.DELAY,
            text=f"was enqueued with a delay{told},",
            since_ms=execution.created_ms,
            until_ms=execution.due_ms,
            actions=(_CANCEL,),
        )
    return _backoff(found, "", execution.failures, execution.options.retry.maximum_attempts, execution.due_ms, known)


def _backoff(found: Stored, what: str, failures: int, most: int, due_ms: int, known: Known) -> Cause:
    """what: fails; "": the execution itself."""
    last = found.last_attempt
    failure = last.failure if last is not None else found.execution.failure
    attempts = f"{failures} of {most}" if most else f"{failures}"
    error = "" if failure is None else f" after {_failure_told(failure)}"
    due = words.due(due_ms, known.now_ms)
    return Cause(
        kind=CauseKind.BACKOFF,
        text=f"waits before attempt {failures + 1}{what} ({due}; {attempts} failed){error},",
        since_ms=None if last is None else last.ended_ms,
        until_ms=due_ms,
        failure=failure,
        actions=("put right what fails: the next attempt is made by itself", _CANCEL),
    )


# --- towards a slot


def _queued(found: Stored, known: Known) -> Iterator[Cause]:
    execution = found.execution
    if (unserved := _unserved(execution, known)) is not None:
        yield unserved
    elif execution.waits_for_place:
        yield _waits_for_key(found)
    else:
        yield _waits_for_slot(found, known)


def _unserved(execution: Execution, known: Known) -> Cause | None:
    """No node can run it."""
    handler = execution.handler
    serving = [node for node in known.nodes.values() if node.serves(handler)]
    since_ms = execution.ready_at
    if not serving:
        meant = near(handler, known.served)
        hint = f" (was it renamed to {meant}?)" if meant else ""
        return Cause(
            kind=CauseKind.NO_NODE,
            text=f"waits for a node that serves handler {handler!r}: none does{hint},",
            since_ms=since_ms,
            name=handler,
            names=(meant,) if meant else (),
            actions=(f"serve {handler!r} again: put it into a node's config, under this name", _CANCEL),
        )
    if any(node.takes_work for node in serving):
        return None
    stopping = all(node.live for node in serving)
    nodes = tuple(f"{node.id} ({'stopping' if node.live else 'down'})" for node in serving)
    return Cause(
        kind=CauseKind.DRAINING if stopping else CauseKind.NODES_DOWN,
        text=f"waits for a node that serves {handler!r} and is up: {words.names(nodes)},",
        since_ms=since_ms,
        name=handler,
        names=tuple(node.id for node in serving),
        actions=("start one of these nodes",),
    )


def _waits_for_key(found: Stored) -> Cause:
    execution, holders = found.execution, found.key_holders
    shown = words.names(holders[:SHOWN_MAX], more=len(holders) > SHOWN_MAX)
    held = f" (held by {shown})" if shown else ""
    return Cause(
        kind=CauseKind.CONCURRENCY_KEY,
        text=f"waits for concurrency key {execution.concurrency_key!r}{held}{_before(found)}",
        since_ms=execution.created_ms,
        name=execution.concurrency_key or "",
        names=holders[:SHOWN_MAX],
        ahead=found.ahead,
        actions=("let those that hold the key end, or cancel them", f"raise {execution.handler}.concurrency_key_limit"),
    )


def _waits_for_slot(found: Stored, known: Known, what: str = "waits for a slot of pool") -> Cause:
    """Of an execution that waits for nothing else."""
    execution = found.execution
    look = known.looks.get(execution.owner)
    held = _node_holds(execution, look, known)
    if held is not None:
        return held
    pool = None if look is None else look.pools.get(execution.pool)
    full = _pool_holds(execution.pool, pool, execution.owner, what, _before(found), known.now_ms)
    if full is not None:
        return replace(full, since_ms=execution.ready_at, ahead=found.ahead)
    told = "" if look is not None else f" (node {execution.owner} was not asked, or does not answer)"
    return Cause(
        kind=CauseKind.ABOUT_TO_START,
        text=f"is about to be started by node {execution.owner}{told}{_before(found)},",
        since_ms=execution.ready_at,
        name=execution.owner,
        ahead=found.ahead,
    )


def _before(found: Stored) -> str:
    return f"; {words.count(found.ahead, 'execution', most=AHEAD_MAX)} before it" if found.ahead else ""


def _node_holds(execution: Execution, look: Look | None, known: Known) -> Cause | None:
    """What of its node, and not of its pool, keeps it from starting."""
    owner, since_ms = execution.owner, execution.ready_at
    node = known.nodes.get(owner)
    if (node is not None and node.draining) or (look is not None and look.draining):
        text = f"waits since its node {owner} is stopping: it goes on after the next start,"
        return Cause(kind=CauseKind.DRAINING, text=text, since_ms=since_ms, name=owner)
    if look is None:
        return None
    if not look.registered:
        text = f"waits since its node {owner} catches up with the others,"
        return Cause(kind=CauseKind.CATCHING_UP, text=text, since_ms=since_ms, name=owner)
    if not look.hosts_up:
        text = f"waits for a worker host of node {owner}: none is up,"
        return Cause(kind=CauseKind.NO_HOST, text=text, since_ms=since_ms, name=owner)
    if execution.id in look.code_goes_on:
        return Cause(
            kind=CauseKind.CODE_GOES_ON,
            text="waits for the end of code of its last attempt, which lost its right to run and goes on,",
            since_ms=since_ms,
            name=owner,
            actions=("let the code end; its worker host is replaced after hosts.lingering_timeout",),
        )
    if look.tried_alone and look.tried_alone != execution.id:
        return Cause(
            kind=CauseKind.TRIAL,
            text=f"waits while node {owner} runs {look.tried_alone} alone, of which nodes may have died,",
            since_ms=since_ms,
            name=owner,
            names=(look.tried_alone,),
        )
    return None


def _pool_holds(
    component: Component, pool: PoolLook | None, owner: str, what: str, before: str, now_ms: int
) -> Cause | None:
    """what, before: how the sentence begins, and who else waits."""
    if pool is None:
        return None
    name = component.value
    if pool.paused:
        return Cause(
            kind=CauseKind.POOL_PAUSED,
            text=f"{what} {name} of node {owner}, which is paused,",
            name=name,
            actions=(f"resume the pool: client.resume_pool({name!r})",),
        )
    if pool.busy >= pool.workers:
        shown = words.names(pool.holders[:SHOWN_MAX], more=pool.busy > len(pool.holders))
        held = f" by {shown}" if pool.holders else ""
        return Cause(
            kind=CauseKind.POOL_FULL,
            text=f"{what} {name} of node {owner}: {pool.busy} of {pool.workers} are taken{held}{before},",
            name=name,
            names=pool.holders[:SHOWN_MAX],
            actions=(f"scale the pool: client.scale_pool({name!r}, …), or let those that hold its slots end",),
        )
    if pool.rate_wait_ms:
        return Cause(
            kind=CauseKind.RATE_LIMIT,
            text=f"{what} {name} of node {owner}, which starts {pool.rate_limit:g} per second{before},",
            until_ms=now_ms + pool.rate_wait_ms,
            name=name,
            actions=(f"raise pools.{name}.rate_limit, and have the node read its config again",),
        )
    return None


# --- under way


def _under_way(found: Stored, known: Known) -> Iterator[Cause]:
    execution = found.execution
    look = known.looks.get(execution.owner)
    run = None if look is None else look.runs.get(execution.id)
    node = known.nodes.get(execution.owner)
    if execution.attached and node is not None and not node.live:
        text = f"waits until another node takes it over from {execution.owner}, which is down,"
        yield Cause(kind=CauseKind.NODES_DOWN, text=text, name=execution.owner, names=(execution.owner,))
        return
    if execution.cancel_requested:
        yield _cancel_ignored(execution)
    waits = list(_open_operations(found, known))
    running = run is not None and (run.runs or bool(run.side_effects_running))
    if running or (execution.status is Status.RUNNING and not waits and run is None):
        yield _running(found, () if run is None else run.side_effects_running)
    if run is not None:
        yield from _held_inside(found, known, run, {} if look is None else look.pools)
    yield from waits
    if not waits and not running and run is not None and not run.wakes and not run.side_effects_waiting:
        yield _running(found, ())


def _cancel_ignored(execution: Execution) -> Cause:
    reason = f" ({execution.reason})" if execution.reason else ""
    seen = "has met the cancel, and goes on" if execution.cancel_delivered else "sees it at its next operation"
    return Cause(
        kind=CauseKind.CANCEL_REQUESTED,
        text=f"was asked to stop{reason} and its code goes on (it {seen}),",
        since_ms=execution.cancelled_ms,
        actions=("let the code come to an operation, or terminate it",),
    )


def _running(found: Stored, side_effects: Sequence[str]) -> Cause:
    execution = found.execution
    keys = sorted(side_effects)
    shown = words.names(keys[:SHOWN_MAX], more=len(keys) > SHOWN_MAX)
    what = f"side effect {shown} of its attempt" if keys else "its attempt"
    return Cause(
        kind=CauseKind.RUNNING,
        text=f"runs {what} {execution.attempt} on node {execution.owner}",
        since_ms=execution.attempt_started_ms,
        until_ms=None,
        name=execution.owner,
        names=tuple(keys[:SHOWN_MAX]),
        operation_id=_operation_id(execution, OperationKind.SIDE_EFFECT, keys[0]) if keys else "",
    )


def _held_inside(found: Stored, known: Known, run: RunLook, pools: Mapping[Component, PoolLook]) -> Iterator[Cause]:
    """What has a stack, and waits for a slot."""
    execution = found.execution
    if run.wakes:
        what, pool = "has its answer and waits for a slot of pool", pools.get(execution.pool)
        full = _pool_holds(execution.pool, pool, execution.owner, what, "", known.now_ms)
        yield full or Cause(kind=CauseKind.ABOUT_TO_START, text="has its answer and is about to go on,")
    pool = pools.get(Component.SIDE_EFFECT)
    for key, before in run.side_effects_waiting.items():
        what = f"waits with side effect {key!r} for a slot of pool"
        ahead = f"; {words.count(before, 'side effect')} before it" if before else ""
        held = _pool_holds(Component.SIDE_EFFECT, pool, execution.owner, what, ahead, known.now_ms)
        if held is None:
            held = Cause(kind=CauseKind.ABOUT_TO_START, text=f"is about to start side effect {key!r},")
        kind = CauseKind.SIDE_EFFECT_SLOT if held.kind is CauseKind.POOL_FULL else held.kind
        id = _operation_id(execution, OperationKind.SIDE_EFFECT, key)
        yield replace(held, kind=kind, ahead=before, operation_id=id)


def _open_operations(found: Stored, known: Known) -> Iterator[Cause]:
    execution = found.execution
    for operation in found.retrying:
        if operation.kind is OperationKind.SIDE_EFFECT and operation.due_ms is not None:
            yield _operation_backoff(execution, operation, known)
    for wait in found.pending[:OPERATIONS_MAX]:
        match wait.kind:
            case OperationKind.SIGNAL:
                yield _signal(found, wait)
            case OperationKind.TIMER:
                yield _timer(execution, wait, known)
            case _:
                yield _execution(found, wait, known)


def _operation_backoff(execution: Execution, operation: Operation, known: Known) -> Cause:
    assert operation.due_ms is not None
    error = "" if operation.failure is None else f" after {_failure_told(operation.failure)}"
    due = words.due(operation.due_ms, known.now_ms)
    attempt = f"attempt {operation.attempt + 1} of side effect {operation.key!r}"
    return Cause(
        kind=CauseKind.BACKOFF,
        text=f"waits before {attempt} ({due}){error},",
        since_ms=operation.started_ms,
        until_ms=operation.due_ms,
        operation_id=_operation_id(execution, operation.kind, operation.key),
        name=operation.key,
        failure=operation.failure,
        actions=("put right what fails: the next attempt is made by itself", _CANCEL),
    )


def _signal(found: Stored, wait: Operation) -> Cause:
    execution, name = found.execution, wait.target
    aside = [each for each in found.unread if each.name == name and each.set_aside is not None]
    others = tuple(each.name for each in found.unread if each.name != name)
    told = f" (one was set aside: {aside[0].set_aside})" if aside else ""
    return Cause(
        kind=CauseKind.SIGNAL,
        text=f'waits for signal "{name}"{told}',
        since_ms=wait.started_ms,
        until_ms=wait.due_ms,
        operation_id=_operation_id(execution, wait.kind, wait.key),
        name=name,
        names=others,
        actions=(f'send it: client.handle("{execution.id}").send_signal("{name}", …)',),
    )


def _timer(execution: Execution, wait: Operation, known: Known) -> Cause:
    due = "" if wait.due_ms is None else f" ({words.due(wait.due_ms, known.now_ms)})"
    return Cause(
        kind=CauseKind.TIMER,
        text=f"waits for its timer{due},",
        since_ms=wait.started_ms,
        until_ms=wait.due_ms,
        operation_id=_operation_id(execution, wait.kind, wait.key),
    )


def _execution(found: Stored, wait: Operation, known: Known) -> Cause:
    execution, target = found.execution, wait.target
    below = next((each for each in found.awaited.values() if each.execution.row == wait.target_row), None)
    told = target if below is None else f"{below.execution.handler} {below.execution.id}"
    circle = " (which waits for it in turn, or is too far down to be told)" if target in found.not_told else ""
    return Cause(
        kind=CauseKind.EXECUTION,
        text=f"waits for the end of {told}{circle}",
        since_ms=wait.started_ms,
        until_ms=wait.due_ms,
        operation_id=_operation_id(execution, wait.kind, wait.key),
        name=target if below is None else below.execution.id,
        awaited=None if below is None else explain(below, known),
    )


# --- sagas that undo, and what waits for an operator


def _compensating(found: Stored, known: Known) -> Iterator[Cause]:
    execution, step = found.execution, found.compensation
    cause = "" if execution.failure is None else f" since it failed with {_failure_told(execution.failure)}"
    if execution.ready_at is not None:
        what = f"undoes step {execution.compensating!r}{cause}: it waits for a slot of pool"
        yield _waits_for_slot(found, known, what)
    elif execution.due_ms is not None:
        failures, most = execution.failures, execution.options.compensation_retry.maximum_attempts
        what = f" to undo step {execution.compensating!r}"
        yield _backoff(found, what, failures, most, execution.due_ms, known)
    elif execution.attached or not found.awaited:
        yield Cause(
            kind=CauseKind.COMPENSATING,
            text=f"undoes step {execution.compensating!r}{cause}",
            since_ms=execution.attempt_started_ms,
            operation_id="" if step is None else _operation_id(execution, step.kind, step.key),
            failure=execution.failure,
        )
        yield from _open_operations(found, known)
    for below in found.awaited.values() if not execution.pending else ():
        yield Cause(
            kind=CauseKind.EXECUTION,
            text=f"undoes its steps{cause}, and waits for the end of {below.execution.handler} {below.execution.id}",
            name=below.execution.id,
            awaited=explain(below, known),
        )


def _stuck(found: Stored) -> Cause:
    execution, step = found.execution, found.compensation
    failure = None if step is None else step.failure
    error = "" if failure is None else f" after {_failure_told(failure)}"
    resolve = f'client.resolve_compensation("{execution.id}", "retry"), or "skip", "mark_done"'
    return Cause(
        kind=CauseKind.STUCK,
        text=f"is stuck: the compensation of step {execution.compensating!r} is out of retries{error},",
        since_ms=None if step is None else step.closed_ms,
        operation_id="" if step is None else _operation_id(execution, step.kind, step.key),
        name=execution.compensating or "",
        failure=failure,
        actions=(f"decide about it: {resolve}",),
    )


def _suspended(found: Stored) -> Cause:
    execution, last = found.execution, found.last_attempt
    failure = execution.failure
    why = "" if failure is None else f": {_failure_told(failure)}"
    right = "see to its cause" if execution.set_aside else "put the code right, and restart the node"
    return Cause(
        kind=CauseKind.SUSPENDED,
        text=f"is suspended{why},",
        since_ms=None if last is None else last.ended_ms,
        failure=failure,
        actions=(f'{right}, or client.resume("{execution.id}")', _CANCEL),
    )


def _operation_id(execution: Execution, kind: OperationKind, key: str) -> str:
    return operation_id(execution.id, execution.run, kind, key)


def _failure_told(failure: Failure) -> str:
    text = " ".join(f"{failure.type}: {failure.message}".rstrip(": ").split())
    return text if len(text) <= _FAILURE_MAX else f"{text[: _FAILURE_MAX - 1]}…"
