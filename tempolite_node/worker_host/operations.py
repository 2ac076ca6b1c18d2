"""Conversations of the operations that are over as soon as they are recorded, and of the waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, assert_never

import msgspec

from tempolite_node.engine import commands, formats
from tempolite_node.engine.effects import Ended, Interrupted, Refused, TimedOut, Value
from tempolite_node.engine.model import ClosePolicy, OperationKind, OperationStatus, Status, shown
from tempolite_node.ids import CHOSEN_ID, CHOSEN_ID_TOLD, CONCURRENCY_KEY, CONCURRENCY_KEY_TOLD
from tempolite_node.protocol.messages import CallOptions, ChildRequest, Record
from tempolite_node.worker_host.attempt import AttemptOver
from tempolite_node.worker_host.conversations import Ask, Conversation, InOrder, ask
from tempolite_node.worker_host.failures import ended_badly, failure_of
from tempolite_node.worker_host.replay import (
    check_digest,
    found,
    given_up_again,
    raise_if_cancelled,
    raise_if_refused,
    read_recorded,
    suspend_unreadable,
)
from tempolite_node.worker_host.scopes import Scope, checked_id, checked_key, local_key
from tempolite_node.worker_host.side_effects import side_effect
from tempolite_node.worker_host.steps import step
from tempolite_sdk import operations
from tempolite_sdk.durations import milliseconds_of
from tempolite_sdk.errors import ContextMisuse, FailedPrecondition, InvalidArgument, WaitTimeout
from tempolite_sdk.handlers import ChildHandle, RetryPolicy
from tempolite_sdk.options import ChildOptions
from tempolite_sdk.payload import decode, decoder, digest, encode
from tempolite_sdk.signals import not_declared, to_send
from tempolite_sdk.values.written import encode_for_reader

if TYPE_CHECKING:
    from tempolite_node.worker_host.attempt import Attempt, AttemptRuntime


_NO_OPTIONS = CallOptions()


def conversation_of(runtime: AttemptRuntime, scope: Scope, operation: operations.Operation) -> Conversation[Any]:
    """scope: the innermost one of the code that asks."""
    attempt = runtime.attempt
    if scope.parent is None:
        attempt.operations += 1
    match operation:
        case operations.RunSideEffect():
            return side_effect(runtime, scope, operation)
        case operations.EnqueueChild():
            return _enqueue_child(attempt, scope, operation)
        case operations.WaitForCompletion():
            return _wait_for_completion(attempt, scope, operation)
        case operations.RunStep():
            return step(runtime, scope, operation)
        case operations.ReceiveSignal():
            return _receive_signal(attempt, scope, operation)
        case operations.SendSignal():
            return _send_signal(attempt, scope, operation)
        case operations.Cancel():
            return _cancel(attempt, scope, operation)
        case operations.Sleep():
            return _sleep(attempt, scope, operation)
        case operations.Memoize():
            return _memoize(attempt, scope, operation)
        case operations.Heartbeat():
            return _heartbeat(attempt, scope, operation)
        case operations.ContinueAsNew():
            return _continue_as_new(attempt, scope, operation)
        case _:
            assert_never(operation)


# --- children


def _enqueue_child(
    attempt: Attempt, scope: Scope, operation: operations.EnqueueChild
) -> Conversation[ChildHandle[Any]]:
    options = operation.options
    name, signature = attempt.services.registry.resolve(operation.handler)
    if signature is not None:
        named: Any = signature.named_arguments(operation.args, operation.kwargs)
        write = signature.encode_arguments if attempt.checks_values else signature.encode_arguments_unchecked
        arguments = write(named)
        result_type = signature.return_type
    else:
        if operation.args and operation.kwargs:
            raise InvalidArgument(
                f"{name}: pass the arguments of a handler given by name all by position or all by keyword"
            )
        named = dict(operation.kwargs) or list(operation.args)
        checked_key(name)
        arguments, result_type = _encoded_for_reader(attempt, named), Any
    attempt.check_size(f"the arguments of {name}", arguments)
    execution_id = options.get("id")
    if execution_id is not None and not (isinstance(execution_id, str) and CHOSEN_ID.fullmatch(execution_id)):
        raise InvalidArgument(f"options: id {CHOSEN_ID_TOLD}, not {execution_id!r}")
    concurrency_key = options.get("concurrency_key")
    if concurrency_key is not None and not (
        isinstance(concurrency_key, str) and CONCURRENCY_KEY.fullmatch(concurrency_key)
    ):
        raise InvalidArgument(f"options: concurrency_key {CONCURRENCY_KEY_TOLD}, not {concurrency_key!r}")
    key = scope.key_of(OperationKind.CHILD, name, options.get("key"))
    request = ChildRequest(
        key=key,
        digest=digest(name, named),
        handler=name,
        function="" if isinstance(operation.handler, str) or signature is None else signature.function,
        arguments=arguments,
        options=_call_options(options) if options else _NO_OPTIONS,
        close_policy=_close_policy(options.get("close_policy")),
        concurrency_key=concurrency_key,
        execution_id=execution_id,
    )
    record = yield from found(attempt, scope, OperationKind.CHILD, key)
    raise_if_refused(record)  # without a look at its digest: a handler that is not known writes its arguments otherwise
    if record is not None:
        check_digest(attempt, record, request.digest, actual=f"{name} with {shown(arguments)}")
    if record is not None and record.generation >= attempt.journal.generation_in(scope):
        return ChildHandle(record.target, key, result_type)
    # From an earlier generation: the node knows whether the child ended badly, and is to be enqueued anew.
    answer = yield from ask(request, scope)
    assert isinstance(answer, Value), f"child {key}: {answer}"
    return ChildHandle(decode(answer.payload or b"null", str), key, result_type)


def _close_policy(name: str | None) -> ClosePolicy | None:
    try:
        return None if name is None else ClosePolicy(name)
    except ValueError:
        known = ", ".join(repr(policy.value) for policy in ClosePolicy)
        raise InvalidArgument(f"options: close_policy must be one of {known}, not {name!r}") from None


def _call_options(options: ChildOptions) -> CallOptions:
    """InvalidArgument: a setting is out of its bounds."""
    retry = options.get("retry") or RetryPolicy()
    made = CallOptions(
        maximum_attempts=retry.maximum_attempts,
        initial_interval_ms=milliseconds_of("retry.initial_interval", retry.initial_interval),
        backoff_coefficient=retry.backoff_coefficient,
        maximum_interval_ms=milliseconds_of("retry.maximum_interval", retry.maximum_interval),
        jitter=retry.jitter,
        non_retryable_errors=retry.non_retryable_errors,
        retry_spent=retry.retry_spent,
        attempt_timeout_ms=milliseconds_of("attempt_timeout", options.get("attempt_timeout")),
        max_duration_ms=milliseconds_of("max_duration", options.get("max_duration")),
        queue_timeout_ms=milliseconds_of("queue_timeout", options.get("queue_timeout")),
        heartbeat_timeout_ms=milliseconds_of("heartbeat_timeout", options.get("heartbeat_timeout")),
        priority=options.get("priority") or 0,
        delay_ms=milliseconds_of("delay", options.get("delay")) or 0,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(made), CallOptions)  # a struct is not checked when it is made
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"options: {error}") from error


# --- waits


def _wait_for_completion(attempt: Attempt, scope: Scope, operation: operations.WaitForCompletion) -> Conversation[Any]:
    if attempt.begun is not None and scope.parent is None and (begun := attempt.begun.wait_for(operation)) is not None:
        return attempt.begun.result(begun)
    target = operation.target
    execution_id, name = _named(target)
    type = target.result_type if isinstance(target, ChildHandle) else Any
    key = scope.key_of(OperationKind.WAIT, name, operation.key)
    record = yield from found(attempt, scope, OperationKind.WAIT, key)
    if record is not None and record.target != execution_id:
        attempt.suspend(record.kind, key, expected=f"a wait for {record.target}", actual=f"a wait for {execution_id}")
    raise_if_refused(record)
    if record is not None and record.ended is not None:
        answer: Any = Ended(
            execution_id=execution_id, status=record.ended, result=record.result, failure=record.failure
        )
    else:
        timeout_ms = milliseconds_of("timeout", operation.timeout)
        request = commands.WaitForExecution(key=key, execution_id=execution_id, timeout_ms=timeout_ms)
        answer = yield from _recorded_or(attempt, scope, record, request, OperationKind.WAIT)
    _check_not_interrupted(attempt, answer)
    if isinstance(answer, TimedOut):
        raise WaitTimeout(f"execution {execution_id} has not ended after {operation.timeout}")
    assert isinstance(answer, Ended), f"wait {key}: {answer}"
    if answer.status is not Status.COMPLETED:
        raise ended_badly(answer)
    expected = type if operation.type is None else operation.type
    return read_recorded(attempt, OperationKind.WAIT, key, answer.result, expected)


def _receive_signal(attempt: Attempt, scope: Scope, operation: operations.ReceiveSignal) -> Conversation[Any]:
    name = checked_key(operation.name)
    key = scope.key_of(OperationKind.SIGNAL, name, operation.key)
    record = yield from found(attempt, scope, OperationKind.SIGNAL, key)
    if record is not None and record.target != name:
        attempt.suspend(record.kind, key, expected=f"signal {record.target}", actual=f"signal {name}")
    type = operation.type
    if declared := attempt.handler.signature.signals:
        if name not in declared and record is None:
            raise InvalidArgument(not_declared(attempt.handler.spec.name, name, declared))
        type = declared.get(name, Any) if type is Any else type
    timeout_ms = milliseconds_of("timeout", operation.timeout)
    decoder(type)  # one that nothing can be read as is the code's mistake, and no signal's
    request = commands.ReceiveSignal(key=key, name=name, timeout_ms=timeout_ms)
    answer = yield from _recorded_or(attempt, scope, record, request, OperationKind.SIGNAL)
    replayed = record is not None and record.status is OperationStatus.COMPLETED
    while True:
        _check_not_interrupted(attempt, answer)
        if isinstance(answer, TimedOut):
            raise WaitTimeout(f"no signal {name!r} after {operation.timeout}")
        assert isinstance(answer, Value), f"signal {key}: {answer}"
        payload = answer.payload
        try:
            value = decode(payload or b"null", type)
        except Exception as error:  # of a model's own validation: anything
            aside = commands.SetSignalAside(
                key=key, name=name, error=_told(error), timeout_ms=timeout_ms, replayed=replayed
            )
            answer = yield Ask(aside, scope, waits=(OperationKind.SIGNAL, key))
            if isinstance(answer, Refused):
                if attempt.records_all:
                    suspend_unreadable(attempt, OperationKind.SIGNAL, key, payload, error)
                raise  # it was recorded by an earlier rule, or read by earlier code: the code is to know
        else:
            attempt.brought(scope, payload)
            return value
        replayed = False


def _told(error: Exception) -> str:
    """What is wrong with a payload, with the place where, as far as its type tells."""
    if isinstance(error, InvalidArgument) and error.violations:
        told = "; ".join(": ".join(filter(None, (each.field, each.description))) for each in error.violations)
        return failure_of(InvalidArgument(told)).message
    return failure_of(error).message or type(error).__name__


def _sleep(attempt: Attempt, scope: Scope, operation: operations.Sleep) -> Conversation[None]:
    duration_ms = milliseconds_of("duration", operation.duration)
    assert duration_ms is not None
    key = scope.key_of(OperationKind.TIMER, "sleep", operation.key)
    record = yield from found(attempt, scope, OperationKind.TIMER, key)
    request = commands.Sleep(key=key, duration_ms=duration_ms)
    answer = yield from _recorded_or(attempt, scope, record, request, OperationKind.TIMER)
    _check_not_interrupted(attempt, answer)


def timer(attempt: Attempt, scope: Scope, key: str, duration_ms: int) -> Conversation[None]:
    """Of the loop that the code runs on: set by no operation of a context."""
    record = yield from found(attempt, scope, OperationKind.TIMER, key)
    yield from _recorded_or(
        attempt, scope, record, commands.Sleep(key=key, duration_ms=duration_ms), OperationKind.TIMER
    )


def _recorded_or(
    attempt: Attempt,
    scope: Scope,
    record: Record | None,
    request: commands.WaitForExecution | commands.ReceiveSignal | commands.Sleep,
    kind: OperationKind,
) -> Conversation[Any]:
    """What the wait came to, or what it comes to now."""
    match None if record is None else record.status:
        case OperationStatus.COMPLETED:
            assert record is not None
            return Value(payload=record.result)
        case OperationStatus.TIMED_OUT:
            return TimedOut()
        case OperationStatus.CANCELLED:
            attempt.raise_cancelled()
        case OperationStatus.GIVEN_UP if scope.parent is not None or attempt.exact is None:
            assert record is not None
            yield from given_up_again(attempt, scope, record)
    return (yield from ask(request, scope, waits=(kind, request.key)))


def _check_not_interrupted(attempt: Attempt, answer: Any) -> None:
    if isinstance(answer, Interrupted):
        attempt.cancel_reason = answer.reason
        attempt.deliver_cancel()


# --- the next run


def _continue_as_new(attempt: Attempt, scope: Scope, operation: operations.ContinueAsNew) -> Conversation[NoReturn]:
    if scope.parent is not None:
        raise ContextMisuse("continue_as_new belongs to the handler itself, not to a side effect or a step of it")
    if attempt.run.format < formats.EXACT_REPLAY:
        raise FailedPrecondition("the execution was enqueued by an earlier version, which can't continue it as new")
    if attempt.begun is not None:
        attempt.begun.end()
    signature = attempt.handler.signature
    named = signature.named_arguments(operation.args, operation.kwargs)
    arguments = signature.encode_arguments(named)
    attempt.check_size(f"the arguments of {attempt.handler.spec.name}", arguments)
    place = f"continue_as_new:{scope.counted('continue_as_new', '')}"
    if attempt.in_order(scope):
        yield InOrder(OperationKind.MARKER, place, None)  # it is never recorded: where it is met again, it was refused
    else:
        yield from raise_if_cancelled(attempt, scope, place, live=not attempt.journal.goes_again_in(scope))
    cancels = 0 if attempt.exact is None else attempt.exact.cancels
    request = commands.ContinueAsNew(arguments=arguments, waits=attempt.unanswered_waits, cancels=cancels)
    answer = yield from ask(request, scope)
    if isinstance(answer, Interrupted):
        attempt.request_cancel(answer.reason)
        yield from raise_if_cancelled(attempt, scope, place, live=True)
    attempt.stop()
    raise AttemptOver


# --- signals sent, markers, heartbeats


def _send_signal(attempt: Attempt, scope: Scope, operation: operations.SendSignal) -> Conversation[None]:
    given, payload = to_send(operation.signal, operation.payload, checked=attempt.checks_values)
    name = checked_key(given)
    if operation.to is not None:
        checked_id(operation.to)
    attempt.check_size(f"signal {name!r}", payload)
    key = scope.key_of(OperationKind.SIGNAL_SENT, name, operation.key)
    request = commands.SendSignalFromAttempt(
        key=key,
        name=name,
        payload=payload,
        digest=digest(name, operation.payload, operation.to),
        to=operation.to,
    )
    record = yield from found(attempt, scope, OperationKind.SIGNAL_SENT, key)
    if record is None:
        yield from ask(request, scope)
    else:
        to = "" if operation.to is None else f" to {operation.to}"
        check_digest(attempt, record, request.digest, actual=f"signal {name}{to} with {shown(payload)}")
        raise_if_refused(record)


def _cancel(attempt: Attempt, scope: Scope, operation: operations.Cancel) -> Conversation[None]:
    execution_id, name = _named(operation.target)
    if not isinstance(operation.reason, str):
        raise InvalidArgument(f"a reason is a str, not {operation.reason!r}")
    attempt.check_size("the reason", operation.reason.encode())
    key = scope.key_of(OperationKind.CANCEL, name, operation.key)
    request = commands.CancelFromAttempt(
        key=key, execution_id=execution_id, reason=operation.reason, digest=digest(execution_id, operation.reason)
    )
    record = yield from found(attempt, scope, OperationKind.CANCEL, key)
    if record is None:
        yield from ask(request, scope)
    else:
        check_digest(attempt, record, request.digest, actual=f"a cancel of {execution_id} with another reason")
        raise_if_refused(record)


def _named(target: ChildHandle[Any] | str) -> tuple[str, str]:
    """Id of an execution, and the name by which automatic keys of operations on it are counted."""
    return (target.id, local_key(target.key)) if isinstance(target, ChildHandle) else (checked_id(target), target)


def _encoded_for_reader(attempt: Attempt, value: Any) -> bytes:
    return encode_for_reader(value) if attempt.checks_values else encode(value)


def _memoize(attempt: Attempt, scope: Scope, operation: operations.Memoize) -> Conversation[Any]:
    key = scope.key_of(OperationKind.MARKER, operation.name, None)
    record = yield from found(attempt, scope, OperationKind.MARKER, key)
    if record is not None:
        return read_recorded(attempt, OperationKind.MARKER, key, record.result, operation.type)
    answer = yield from ask(commands.RecordMarker(key=key, value=encode(operation.make())), scope)
    assert isinstance(answer, Value), f"marker {key}: {answer}"
    return decode(answer.payload or b"null", operation.type)


def _heartbeat(attempt: Attempt, scope: Scope, operation: operations.Heartbeat) -> Conversation[None]:
    """Told, and not waited for; a cancel is raised here as at any other operation."""
    live = not (
        attempt.records_all and attempt.journal.goes_again_in(scope)
    )  # there it was not raised in the first run
    yield from raise_if_cancelled(
        attempt, scope, f"{scope.prefix}heartbeat:{scope.counted('heartbeat', '')}", live=live
    )
    details = None if operation.details is None else _encoded_for_reader(attempt, operation.details)
    attempt.check_size("the heartbeat's details", details or b"")
    attempt.reads.beat()
    attempt.send(commands.Heartbeat(details=details), scope, None)
