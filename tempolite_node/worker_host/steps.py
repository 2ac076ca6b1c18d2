"""The conversation of a saga's step, and the step's class found again for its compensation."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from copy import copy
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tempolite_node.engine import commands
from tempolite_node.engine.effects import Granted
from tempolite_node.engine.model import Failure, OperationKind, OperationStatus, shown
from tempolite_node.worker_host.contexts import transaction_context
from tempolite_node.worker_host.conversations import Conversation, RunUserCode, ask
from tempolite_node.worker_host.failures import CANCELLED_BODY, failed_step, is_a
from tempolite_node.worker_host.registry import LoadError, import_target
from tempolite_node.worker_host.replay import check_digest, found, suspend_unreadable
from tempolite_node.worker_host.scopes import Scope
from tempolite_sdk.async_contexts import AsyncSagaStep
from tempolite_sdk.contexts import SagaStep
from tempolite_sdk.errors import Cancelled, ContextMisuse, NotInHandler
from tempolite_sdk.operations import RunStep
from tempolite_sdk.payload import digest, encode_fields, field_names, restore_fields
from tempolite_sdk.values.written import encode_fields_as_they_are, salvaged_fields, tell_once

if TYPE_CHECKING:
    from tempolite_node.worker_host.attempt import Attempt, AttemptRuntime


def step(runtime: AttemptRuntime, scope: Scope, operation: RunStep) -> Conversation[Any]:
    attempt, step = runtime.attempt, operation.step
    if scope.parent is not None:
        raise ContextMisuse("a step belongs to the saga itself, not to a side effect or another step of it")
    target = _target_of(step, asynchronous=attempt.handler.asynchronous)
    data = _data_of(attempt, step)
    input_digest = digest(target, data.decode())
    key = scope.key_of(OperationKind.STEP, type(step).__name__, operation.key)
    record = yield from found(attempt, scope, OperationKind.STEP, key)
    if record is not None and record.status in (OperationStatus.COMPLETED, OperationStatus.RUNNING):
        check_digest(attempt, record, input_digest, actual=f"{target} with {shown(data)}")
    if record is not None and record.status is OperationStatus.COMPLETED:
        attempt.brought(scope, record.result)
        _restore_recorded(attempt, step, key, record.result or data)
        return step
    if record is not None and record.status is OperationStatus.FAILED:
        assert record.failure is not None, f"step {key} failed without a failure"
        _restore_recorded(attempt, step, key, record.result or data)
        raise failed_step(key, record.failure, exact=attempt.records_all)
    go = yield from ask(commands.BeginStep(key=key, target=target, input=data, digest=input_digest), scope)
    assert isinstance(go, Granted), f"step {key}: {go}"  # the journal said that it is not over
    if go.data is not None:
        data = go.data
        restore_fields(step, data)
    return (yield from _run_transaction(runtime, scope, step, data, key, go.attempt))


def _run_transaction(
    runtime: AttemptRuntime, scope: Scope, step: Any, data: bytes, key: str, number: int
) -> Conversation[Any]:
    attempt = runtime.attempt
    inner = scope.inner(OperationKind.STEP, key)
    context = transaction_context(runtime.within(inner), key, number)
    failure: Failure | None
    # What it changes, in what a field refers to as well, the body sees as recorded: in replay it does not run.
    worked_on = _copy(step, data) if attempt.records_all else step
    has_run = False
    cancels_before = attempt.cancels_raised
    try:
        yield RunUserCode(partial(worked_on.transaction, context), inner)
        attempt.check_running()
        has_run = True  # it has taken effect: should its data be unstorable, it is to be undone, and never done again
        data = _data_of(attempt, worked_on)
    except BaseException as error:
        attempt.check_running()
        attempt.leave(inner)
        failure = attempt.failure_of(error)
        if attempt.records_all and is_a(error, asyncio.CancelledError):
            failure = replace(failure, type=CANCELLED_BODY)
        if is_a(error, NotInHandler):
            attempt.suspend_misuse(error)
        if has_run:
            failure = replace(failure, non_retryable=True)
        data = _salvaged(attempt, worked_on, data)
        met_cancel = attempt.cancels_raised > cancels_before or inner.interrupted
        interrupted = met_cancel or is_a(error, (Cancelled, asyncio.CancelledError))
        fail = commands.FailStep(
            key=key,
            data=data,
            failure=failure,
            compensate=has_run or type(step).compensate_on_failure or (attempt.records_all and interrupted),
            has_run=attempt.records_all and has_run,
        )
        yield from ask(fail, scope)
        if is_a(error, (asyncio.CancelledError, GeneratorExit)) or not (attempt.records_all or is_a(error, Exception)):
            raise
    else:
        attempt.leave(inner)
        yield from ask(commands.CompleteStep(key=key, data=data), scope)
        failure = None
        attempt.brought(scope, data)
    restore_fields(step, data)
    if failure is not None:
        raise failed_step(key, failure, exact=attempt.records_all)  # and from nothing, as in replay
    return step


def _restore_recorded(attempt: Attempt, step: Any, key: str, data: bytes) -> None:
    try:
        restore_fields(step, data)
    except Exception as error:  # the class has other fields by now, or the code of its own that reads them
        if not attempt.records_all:
            raise
        suspend_unreadable(attempt, OperationKind.STEP, key, data, error)


def _copy(step: Any, data: bytes) -> Any:
    """Another step with the recorded fields, and whatever else the step holds."""
    if field_names(type(step)) is None:
        return step
    copied = copy(step)
    restore_fields(copied, data)
    return copied


def _data_of(attempt: Attempt, step: Any) -> bytes:
    name = type(step).__name__
    data, change = encode_fields_as_they_are(step) if attempt.checks_values else (encode_fields(step), None)
    attempt.check_size(f"the data of {name}", data)
    tell_once(f"the data of {name}", change)
    return data


def _salvaged(attempt: Attempt, step: Any, before: bytes) -> bytes:
    """What a transaction noted before it failed, for its compensation; of fields that can't be stored, the earlier."""
    try:
        return _data_of(attempt, step)
    except Exception:
        data = salvaged_fields(step, before)
        return data if len(data) <= attempt.services.payload_bytes_max else before


def _target_of(step: Any, *, asynchronous: bool) -> str:
    """ "module:qualified name" of the step's class, by which its compensation finds it, in any process."""
    target = _found_target(type(step))
    if not asynchronous and isinstance(step, AsyncSagaStep):
        name = type(step).__qualname__
        raise ContextMisuse(f"{name} is an AsyncSagaStep: only an `async def` saga handler can run it")
    return target


def _find_target(cls: Any) -> str:
    if not issubclass(cls, SagaStep | AsyncSagaStep):
        raise ContextMisuse(f"a step is a SagaStep, with a transaction and a compensation; {cls.__qualname__} is none")
    target = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found = import_target(target)
    except LoadError:
        found = None
    if found is not cls:
        raise ContextMisuse(f"{target} can't be found by its name: define the step at the top level of its module")
    return target


_found_target: Callable[[Any], str] = lru_cache(maxsize=1_024)(_find_target)


def step_class(target: str) -> type[Any]:
    """The class of a recorded step. LoadError: it is not there any more."""
    cls = import_target(target)
    if not (inspect.isclass(cls) and issubclass(cls, SagaStep | AsyncSagaStep)):
        raise LoadError(f"{target} is no SagaStep any more")
    return cls
