"""The conversation of a side effect: run once for its key, retried by its policy, recorded when it is over."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tempolite_node.clock import node_clock_ms
from tempolite_node.engine import commands
from tempolite_node.engine.effects import Failed, Granted, Value
from tempolite_node.engine.model import Failure, OperationKind, OperationStatus, shown
from tempolite_node.engine.model import RetryPolicy as ResolvedPolicy
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.contexts import side_effect_context
from tempolite_node.worker_host.conversations import Conversation, RunUserCode, UserCodeTimeout, ask
from tempolite_node.worker_host.failures import CANCELLED_BODY, failed_side_effect, is_a, is_cancelled
from tempolite_node.worker_host.function_info import FunctionInfo, info_of
from tempolite_node.worker_host.key_uses import KeyUses
from tempolite_node.worker_host.replay import check_digest, found, given_up_again, raise_if_cancelled, read_recorded
from tempolite_node.worker_host.scopes import Scope, checked_key
from tempolite_sdk.async_contexts import AsyncSideEffect
from tempolite_sdk.contexts import SideEffect
from tempolite_sdk.durations import milliseconds_of, seconds_of
from tempolite_sdk.errors import ContextMisuse, InvalidArgument, NotInHandler
from tempolite_sdk.handlers import RetryPolicy
from tempolite_sdk.operations import RunSideEffect
from tempolite_sdk.payload import decode, decoder, digest, encode, encode_fields
from tempolite_sdk.values.written import tell_once

if TYPE_CHECKING:
    from tempolite_node.worker_host.attempt import Attempt, AttemptRuntime


_UNREAD = object()  #: nothing was read of a result yet


def side_effect(runtime: AttemptRuntime, scope: Scope, operation: RunSideEffect) -> Conversation[Any]:
    attempt = runtime.attempt
    effect = operation.effect
    run, input_digest, info = _resolve(effect, attempt)
    if operation.type is not None and attempt.records_all:
        decoder(operation.type)  # refused before it runs: what it returns could not be read
    type = operation.type if operation.type is not None else info.result_type
    in_order = scope.parent is None and attempt.ordered
    key = scope.prefix + checked_key(operation.key)
    if attempt.checks_values:
        uses = scope.key_uses
        if uses is None:
            uses = scope.key_uses = KeyUses()
        if info.may_capture or run is not effect:
            uses.meet(operation.key, effect, input_digest)
        else:
            uses.meet_code(operation.key, info.code)
    if attempt.may_give_up or (scope.parent is None and (attempt.begun is not None or attempt.run.generation)):
        if attempt.begun is not None and scope.parent is None:
            attempt.begun.check_key(key)
        failed_before = attempt.run.generation or scope.side_effect_failures
        again = attempt.journal.completed_again(scope, key) if failed_before else None
        key = again or scope.prefix + scope.again(OperationKind.SIDE_EFFECT, operation.key)
    if in_order:
        attempt.begin_side_effect(key)  # before it has its place: two at once are refused in each replay
    begun = in_order
    try:
        record = yield from found(attempt, scope, OperationKind.SIDE_EFFECT, key)
        if record is not None:
            check_digest(attempt, record, input_digest, actual=f"{_name(effect)} with {_input_shown(effect)}")
        if record is not None and record.status is OperationStatus.COMPLETED:
            attempt.brought(scope, record.result)
            return read_recorded(attempt, OperationKind.SIDE_EFFECT, key, record.result, type)
        if record is not None and record.status is OperationStatus.FAILED:
            assert record.failure is not None, f"side effect {key} failed without a failure"
            if record.failure.type == CANCELLED_BODY and attempt.may_give_up and not in_order:
                scope.leave_key(OperationKind.SIDE_EFFECT, operation.key)
                yield from given_up_again(attempt, scope, record)
                return (yield from side_effect(runtime, scope, operation))
            raise failed_side_effect(
                key, Failed(failure=record.failure, attempts=record.attempt), exact=attempt.records_all
            )
        if not begun:
            attempt.begin_side_effect(key)
            begun = True
        due_ms = None if record is None else _due_ms(attempt, scope, record)
        answer: Any
        if record is None and attempt.begun is None and attempt.services.slots.take(attempt, key, scope):
            answer = Granted(attempt=1)
        else:
            answer = yield from _begin(scope, key, input_digest, record)
        read = _UNREAD
        while isinstance(answer, Granted):
            answer, read = yield from _attempt(
                runtime, scope, operation, run, info, type, key, input_digest, answer.attempt, due_ms
            )
            due_ms = None
    except asyncio.CancelledError as error:
        if not begun or (record is not None and record.status is OperationStatus.FAILED):
            raise  # it was cancelled before, and that is recorded
        # Whoever cancelled the task wants it to end: neither a slot nor a next attempt is to be kept for it.
        attempt.check_running()
        cancelled = _failed(runtime, operation, key, input_digest, error, time.time_ns() // 1_000_000)
        answer, read = (yield from ask(cancelled, scope)), _UNREAD
        if not in_order:
            if attempt.may_give_up:
                _note_cancelled(attempt, scope, operation, key, input_digest, answer)
            raise
    finally:
        if begun:
            attempt.end_side_effect(key)
    attempt.journal.add(_record(attempt, scope, key, input_digest, answer))
    if isinstance(answer, Failed):
        if answer.failure.type == CANCELLED_BODY and attempt.may_give_up and not in_order:
            scope.leave_key(OperationKind.SIDE_EFFECT, operation.key)  # nobody heard the answer when it was cancelled
            return (yield from side_effect(runtime, scope, operation))
        raise failed_side_effect(key, answer, exact=attempt.records_all)
    attempt.brought(scope, answer.payload)
    return decode(answer.payload or b"null", type) if read is _UNREAD else read


def _note_cancelled(
    attempt: Attempt, scope: Scope, operation: RunSideEffect, key: str, input_digest: bytes, answer: Value | Failed
) -> None:
    """Asked for again, its key answers what it completed with after all, and else begins anew."""
    attempt.journal.add(_record(attempt, scope, key, input_digest, answer))
    if isinstance(answer, Failed):
        scope.leave_key(OperationKind.SIDE_EFFECT, operation.key)


def _begin(scope: Scope, key: str, input_digest: bytes, record: Record | None) -> Conversation[Any]:
    """The answer of the node, in whose place a leased slot says that it may run.

    record: what holds of it. One whose next attempt is due waits for a slot alone: to unwind it would only ask again.
    """
    begin = commands.BeginSideEffect(key=key, digest=input_digest, fresh=record is None)
    waits = record is not None and record.in_backoff
    return (yield from ask(begin, scope, waits=(OperationKind.SIDE_EFFECT, key) if waits else None))


def _record(attempt: Attempt, scope: Scope, key: str, input_digest: bytes, answer: Value | Failed) -> Record:
    """What the node has recorded by now."""
    journal = attempt.journal
    run = None if scope.parent is not None else journal.run
    recorded = Record(
        kind=OperationKind.SIDE_EFFECT,
        key=key,
        status=OperationStatus.COMPLETED,
        digest=input_digest,
        generation=journal.generation_in(scope),
        result=answer.payload if isinstance(answer, Value) else None,
        end_seq=0 if run is None else run.delivered_seq,
        closed_ms=0 if run is None else run.delivered_ms,
    )
    if isinstance(answer, Value):
        return recorded
    return replace(recorded, status=OperationStatus.FAILED, attempt=answer.attempts, failure=answer.failure)


def _attempt(
    runtime: AttemptRuntime,
    scope: Scope,
    operation: RunSideEffect,
    run: Callable[..., Any],
    info: FunctionInfo,
    type: Any,
    key: str,
    input_digest: bytes,
    number: int,
    due_ms: int | None,
) -> Conversation[Any]:
    """One attempt, in a slot of the side-effect pool.

    due_ms: end of its time, if it has been run before, and its stack was given up.
    What comes back: its result, another go, or that it failed; and what was read of the result that is recorded now.
    """
    attempt = runtime.attempt
    inner = scope.inner(OperationKind.SIDE_EFFECT, key, side_effect_attempt=number)
    if runtime.is_begun:
        inner.beside = True
    started_ms = time.time_ns() // 1_000_000
    if info.takes_context:
        named = scope.prefix + operation.key  # begun anew after it was cancelled, it is the same act to others
        run = partial(run, side_effect_context(runtime.within(inner), named, number))
    timeout_s = _timeout_s(runtime, operation)
    if timeout_s is not None or due_ms is not None:
        started_ms = node_clock_ms()  # by which the engine keeps its time
    if due_ms is not None:
        timeout_s = max(0, due_ms - started_ms) / 1_000
    elif timeout_s is not None:
        due_ms = started_ms + math.ceil(timeout_s * 1_000)
    has_run = False
    try:
        if due_ms is not None:
            if due_ms <= started_ms:
                raise UserCodeTimeout
            attempt.timed[key] = commands.TimedSideEffect(
                key=key,
                digest=input_digest,
                started_ms=started_ms,
                due_ms=due_ms,
                side_effect_failures=scope.side_effect_failures,
            )
        # It may have been requested while this attempt waited for its slot, or for the end of the backoff.
        if attempt.exact is None and not inner.beside and attempt.may_meet_cancel:
            yield from raise_if_cancelled(attempt, scope, f"{OperationKind.SIDE_EFFECT}:{key}", live=True)
        try:
            value = yield RunUserCode(run, inner, timeout_s)
        finally:
            attempt.timed.pop(key, None)
        if attempt.over:
            attempt.check_running()
        has_run = True  # should its value be unstorable, it is never run again
        result, read = _checked_result(attempt, operation, value, type)
    except (asyncio.CancelledError, GeneratorExit):
        attempt.leave(inner)
        raise
    except BaseException as error:
        attempt.check_running()
        attempt.leave(inner)
        if is_a(error, NotInHandler):
            attempt.suspend_misuse(error)
        failed = _failed(runtime, operation, key, input_digest, error, started_ms)
        if has_run:
            failure = replace(failed.failure, non_retryable=True)
            failed = replace(failed, failure=failure, has_run=attempt.records_all)
        return (yield from ask(failed, scope, waits=(OperationKind.SIDE_EFFECT, key))), _UNREAD
    if inner.asked:
        attempt.leave(inner)
    completed = commands.CompleteSideEffect(key=key, digest=input_digest, result=result, started_ms=started_ms)
    answer = yield from ask(completed, scope)
    return answer, (read if isinstance(answer, Value) and answer.payload == result else _UNREAD)


def _failed(
    runtime: AttemptRuntime,
    operation: RunSideEffect,
    key: str,
    input_digest: bytes,
    error: BaseException,
    started_ms: int,
) -> commands.FailSideEffect:
    policy = _policy(runtime.attempt.handler.spec.side_effect_retry, operation.retry)
    failure = _failure_of(runtime.attempt, error)
    if runtime.attempt.records_all and is_a(error, asyncio.CancelledError):
        failure = replace(failure, type=CANCELLED_BODY)
    return commands.FailSideEffect(key=key, digest=input_digest, failure=failure, retry=policy, started_ms=started_ms)


def _resolve(effect: Any, attempt: Attempt) -> tuple[Callable[..., Any], bytes, FunctionInfo]:
    """What is to be run, the digest of its input, and what is known of it. A function's input is its own matter."""
    run: Callable[..., Any]
    if isinstance(effect, FunctionType):  # most are, and the question is a quick one
        run, input_digest = effect, b""
    elif isinstance(effect, SideEffect | AsyncSideEffect):
        run, input_digest = effect.run, digest(_name(effect), encode_fields(effect).decode())
    elif callable(effect):
        run, input_digest = effect, b""
    else:
        raise ContextMisuse(f"a side effect is a SideEffect or a function, not {effect!r}")
    info = info_of(run, checks_values=attempt.checks_values)
    if info.asynchronous and not attempt.handler.asynchronous:
        raise ContextMisuse(f"{_name(effect)} is an `async def`: only an `async def` handler can run it")
    return run, input_digest, info


def _name(effect: Any) -> str:
    named = type(effect) if isinstance(effect, SideEffect | AsyncSideEffect) else effect
    return getattr(named, "__qualname__", repr(named))


def _input_shown(effect: Any) -> str:
    """The fields of a side effect that has some. Of what was recorded the node has a digest alone."""
    return shown(encode_fields(effect)) if isinstance(effect, SideEffect | AsyncSideEffect) else "no fields"


def _checked_result(attempt: Attempt, operation: RunSideEffect, value: Any, type: Any) -> tuple[bytes, Any]:
    """As it is recorded, and as it is read.

    InvalidArgument: it is not what its annotation says, would come back different, or is too large.
    """
    if not attempt.checks_values:
        result = encode(value)
        attempt.check_size("the result", result)
        return result, decode(result, type)
    result, read, change = attempt.encode_result(type, value)
    if change is not None:
        tell_once(f"the result of {_name(operation.effect)}", change)
    return result, read


def _failure_of(attempt: Attempt, error: BaseException) -> Failure:
    if is_a(error, UserCodeTimeout):
        return Failure(type="AttemptTimeout", message="the attempt took too long (timeout)")
    failure = attempt.failure_of(error)
    hopeless = is_a(error, (InvalidArgument, asyncio.CancelledError)) or is_cancelled(error)
    return replace(failure, non_retryable=failure.non_retryable or hopeless)


def _policy(configured: ResolvedPolicy, called: RetryPolicy | None) -> ResolvedPolicy:
    """Field by field from the call, else as configured."""
    if called is None:
        return configured
    given = {
        "maximum_attempts": called.maximum_attempts,
        "initial_interval_ms": milliseconds_of("retry.initial_interval", called.initial_interval),
        "backoff_coefficient": called.backoff_coefficient,
        "maximum_interval_ms": milliseconds_of("retry.maximum_interval", called.maximum_interval),
        "jitter": called.jitter,
        "non_retryable_errors": called.non_retryable_errors,
        "retry_spent": called.retry_spent,
    }
    return replace(configured, **{name: value for name, value in given.items() if value is not None})


def _due_ms(attempt: Attempt, scope: Scope, record: Record) -> int | None:
    """End of the time of a side effect that an earlier stack of this attempt ran; None: none did."""
    if record.status is not OperationStatus.RUNNING:
        return None
    return record.due_ms if record.generation >= attempt.journal.generation_in(scope) else None


def _timeout_s(runtime: AttemptRuntime, operation: RunSideEffect) -> float | None:
    if operation.timeout is not None:
        return seconds_of("timeout", operation.timeout)
    configured_ms = runtime.attempt.handler.spec.side_effect_timeout_ms
    return None if configured_ms is None else configured_ms / 1_000
