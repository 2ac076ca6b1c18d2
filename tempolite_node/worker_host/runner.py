"""Starts attempts, and takes to them what the node says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from tempolite_node.engine import formats
from tempolite_node.engine.commands import FailAttempt
from tempolite_node.engine.model import (
    CANCEL_AGAIN,
    Failure,
    OperationKind,
    OperationStatus,
    cancel_again,
    record_generation,
    shown,
)
from tempolite_node.protocol import messages
from tempolite_node.worker_host.async_runtime import AsyncRuntime, AttemptLoop, TaskScheduler
from tempolite_node.worker_host.attempt import Attempt, AttemptOver, AttemptRuntime, Services
from tempolite_node.worker_host.begun import BodyRuntime
from tempolite_node.worker_host.contexts import compensation_context, handler_context
from tempolite_node.worker_host.exact.runtime import ExactAttempt, ExactRuntime, misuse_in
from tempolite_node.worker_host.failures import failure_of
from tempolite_node.worker_host.registry import LoadError
from tempolite_node.worker_host.steps import step_class
from tempolite_node.worker_host.sync_runtime import ThreadScheduler, threads
from tempolite_node.worker_host.wear import Wear
from tempolite_sdk.errors import InvalidArgument
from tempolite_sdk.payload import decode, decode_fields, encode
from tempolite_sdk.values.written import tell_once


class Arriving(Struct, eq=False):
    """What is to run, and what has come of its journal by now."""

    run: messages.RunHandler | messages.RunCompensation
    records: list[messages.Record] = field(default_factory=list)
    cancels: list[messages.CancelAttempt] = field(default_factory=list)  #: that came meanwhile


class Runner:
    """Belongs to the thread that reads the socket; each attempt runs elsewhere."""

    def __init__(self, services: Services, *, wear: Wear | None = None) -> None:
        """wear: is told of each attempt that ends."""
        self._services = services
        self._wear = wear
        self._attempts: dict[str, Attempt] = {}
        self._with_code: dict[tuple[str, int], Attempt] = {}  #: of which code is under way
        self._arriving: dict[str, Arriving] = {}  #: whose journal is not whole yet
        self._loop = AttemptLoop(services.channel)
        self._threads = ThreadScheduler(services.channel)
        #: Of this batch, taken to the loop at once, in the order in which it came.
        self._for_loop: list[tuple[Attempt, messages.Reply | messages.CancelAttempt]] = []

    def start(self, run: messages.RunHandler | messages.RunCompensation) -> None:
        if run.more:
            self._arriving[run.execution_id] = Arriving(run)
        else:
            self._start(run)

    def go_on(self, part: messages.JournalPart) -> None:
        """The last one starts the attempt. One that lost its right to run meanwhile is not known any more."""
        arriving = self._arriving.get(part.execution_id)
        if arriving is None or arriving.run.epoch != part.epoch:
            return
        arriving.records += part.records
        if not part.more:
            del self._arriving[part.execution_id]
            run = replace(arriving.run, journal=tuple(arriving.records), more=False)
            self._start(_with_cancels(run, arriving.cancels) if isinstance(run, messages.RunHandler) else run)

    def _start(self, run: messages.RunHandler | messages.RunCompensation) -> None:
        handler = self._services.registry.handlers.get(run.handler)
        if handler is None:
            self._refuse(run)
            return
        if handler.asynchronous and isinstance(run, messages.RunHandler) and run.format >= formats.EXACT_REPLAY:
            attempt = self._add(Attempt(run, handler, self._services, TaskScheduler(self._loop)))
            code = ExactAttempt(attempt, self._loop)
            main, conclude = partial(_run_exact, attempt, code), partial(_conclude, attempt)
            self._loop.call(partial(code.start, main, conclude, partial(self._forget, attempt)))
        elif handler.asynchronous:
            task = TaskScheduler(self._loop)
            attempt = self._add(Attempt(run, handler, self._services, task))
            task.start(partial(_run_async, attempt), partial(self._forget, attempt))
        else:
            attempt = self._add(Attempt(run, handler, self._services, self._threads))
            threads.start(partial(_run_sync, attempt, partial(self._forget, attempt)))

    def _add(self, attempt: Attempt) -> Attempt:
        self._attempts[attempt.execution_id] = attempt
        place = (attempt.execution_id, attempt.epoch)
        self._with_code[place] = attempt
        attempt.code.when_ended = partial(self._with_code.pop, place, None)
        attempt.code.begins()
        return attempt

    def _refuse(self, run: messages.RunHandler | messages.RunCompensation) -> None:
        failure = Failure(type="HandlerNotFound", message=f"no handler {run.handler!r} in this worker host")
        call = messages.AttemptCall(
            execution_id=run.execution_id, epoch=run.epoch, call=1, request=FailAttempt(failure=failure)
        )
        self._services.channel.send(call)

    def _forget(self, attempt: Attempt) -> None:
        """Its open calls are given up with it. A later attempt of the same execution may have taken its place."""
        attempt.stop()
        if self._attempts.get(attempt.execution_id) is attempt:
            del self._attempts[attempt.execution_id]
        attempt.code.ends()
        if self._wear is not None:
            self._wear.attempt_ended()

    def reply(self, message: messages.Reply) -> None:
        attempt = self._of(message)
        if attempt is None:
            return  # the answer to the last call of an attempt that is gone
        if attempt.handler.asynchronous:
            self._for_loop.append((attempt, message))
            return
        if attempt.begun is not None:
            attempt.begun.answered(message)
            return
        waiter = attempt.answered(message.call)
        if waiter is not None:
            waiter.wake(message.answer)

    def deliver(self) -> None:
        """After each batch: the answers for asynchronous attempts, in one hop."""
        if self._for_loop:
            answers, self._for_loop = self._for_loop, []
            self._loop.deliver(answers)

    def cancel(self, message: messages.CancelAttempt) -> None:
        arriving = self._arriving.get(message.execution_id)
        if arriving is not None and arriving.run.epoch == message.epoch:
            arriving.cancels.append(message)
            return
        attempt = self._of(message)
        if attempt is not None:
            attempt.request_cancel(message.reason)
            if attempt.exact is not None:
                self._for_loop.append((attempt, message))
            elif attempt.begun is not None:
                attempt.begun.cancel(message)

    def abandon(self, message: messages.AbandonAttempt) -> None:
        arriving = self._arriving.get(message.execution_id)
        if arriving is not None and arriving.run.epoch == message.epoch:
            del self._arriving[message.execution_id]
        attempt = self._with_code.get((message.execution_id, message.epoch))
        if attempt is None:
            self._services.channel.send(messages.CodeEnded(execution_id=message.execution_id, epoch=message.epoch))
            return
        attempt.abandon()
        attempt.code.abandon()

    def _of(self, message: messages.Reply | messages.CancelAttempt) -> Attempt | None:
        attempt = self._attempts.get(message.execution_id)
        return attempt if attempt is not None and attempt.epoch == message.epoch else None

    def when_responsive(self, function: Callable[[], object]) -> None:
        """Calls it once the loop of the asynchronous attempts turns, if there is one: code that blocks it is found."""
        if self._loop.started:
            self._loop.call(function)
        else:
            function()


def _with_cancels(run: messages.RunHandler, cancels: Iterable[messages.CancelAttempt]) -> messages.RunHandler:
    """With those that came while its journal did. What came of it later than they did may have them by then."""
    for cancel in cancels:
        if not run.cancel_requested or (run.cancel_seq or 0) == cancel.cancel_seq:
            run = replace(
                run,
                cancel_requested=True,
                cancel_delivered=False,
                cancel_reason=cancel.reason,
                cancel_seq=cancel.cancel_seq or None,
                cancelled_ms=cancel.at_ms,
            )
        elif all(record.end_seq != cancel.cancel_seq for record in run.journal):
            before = sum(1 for record in run.journal if record.key.startswith(CANCEL_AGAIN))
            place = messages.Record(
                kind=OperationKind.MARKER,
                key=cancel_again(before + 2),
                status=OperationStatus.COMPLETED,
                generation=record_generation(run.generation, 0),
                end_seq=cancel.cancel_seq,
                closed_ms=cancel.at_ms,
            )
            run = replace(run, journal=(*run.journal, place))
    return run


def _run_sync(attempt: Attempt, ended: Callable[[], None]) -> None:
    try:
        with attempt.scope:
            try:
                returned = _entry(BodyRuntime(attempt, attempt.scope))()
                if attempt.begun is not None:
                    attempt.begun.end()
            except BaseException:
                if attempt.begun is not None:
                    attempt.begun.leave()
                raise
        _finish(attempt, returned)
    except BaseException as error:  # user code may raise anything
        _fail(attempt, error)
    finally:
        ended()


async def _run_async(attempt: Attempt) -> None:
    attempt.bodies[attempt.scope] = asyncio.current_task()
    try:
        with attempt.scope:
            returned = await _entry(AsyncRuntime(attempt, attempt.scope))()
        _finish(attempt, returned)
    except BaseException as error:
        _fail(attempt, error)


async def _run_exact(attempt: Attempt, code: ExactAttempt) -> Any:
    with attempt.scope:
        return await _entry(ExactRuntime(code))()


def _conclude(attempt: Attempt, first: asyncio.Task[Any]) -> None:
    """The code has ended, and so have all of its tasks."""
    try:
        _finish(attempt, first.result())
    except AttemptOver:
        pass
    except BaseException as error:
        if (misuse := misuse_in(error)) is None:
            _fail(attempt, error)
        else:
            with suppress(AttemptOver):
                attempt.suspend_misuse(misuse)


def _fail(attempt: Attempt, error: BaseException) -> None:
    """If it is over, whoever ended it has said so. The error does not tell: it may be another attempt's."""
    if not attempt.over:
        attempt.fail(error)


def _entry(runtime: AttemptRuntime) -> Callable[[], Any]:
    """The call of user code that the attempt consists of."""
    attempt = runtime.attempt
    run = attempt.run
    if isinstance(run, messages.RunCompensation):
        step = _recorded_step(attempt, run)
        return partial(step.compensation, compensation_context(runtime))
    args, kwargs, violations = attempt.handler.signature.decode_arguments(run.arguments)
    if violations:
        told = "; ".join(f"{each.field}: {each.description}" for each in violations)
        if attempt.records_all and not _is_the_callers_mistake(run):
            attempt.suspend(
                OperationKind.MARKER, "arguments", expected=shown(run.arguments), actual=told, what="arguments"
            )
        raise InvalidArgument(told, violations)
    attempt.reads.begin()
    return partial(attempt.handler.function, handler_context(runtime), *args, **kwargs)


def _is_the_callers_mistake(run: messages.RunHandler) -> bool:
    """Arguments that were never taken, of a child: if it was enqueued by name, nobody has checked them before."""
    return run.parent_id is not None and run.generation == 0 and not run.journal


def _recorded_step(attempt: Attempt, run: messages.RunCompensation) -> Any:
    """The step as it was recorded. If the code has no room for it, an operator has it undone once the code is right."""
    try:
        return decode_fields(run.data, step_class(run.target))
    except Exception as error:
        if attempt.records_all:
            told = failure_of(error).message
            expected = f"{run.target} with {shown(run.data)}"
            attempt.suspend(OperationKind.STEP, run.key, expected=expected, actual=told, what=f"step {run.key}")
        if isinstance(error, LoadError):
            raise StepNotFound(f"the compensation of {run.key} can't run: {error}") from error
        raise


def _encoded_result(attempt: Attempt, returned: Any) -> bytes:
    """InvalidArgument: it is not what its annotation says, would come back different, or is too large."""
    signature = attempt.handler.signature
    if not attempt.checks_values:
        result = encode(returned)
        attempt.check_size("the result", result)
        decode(result, signature.return_type)
        return result
    result, _read, change = attempt.encode_result(signature.constrained_return_type, returned)
    tell_once(f"the result of {attempt.handler.spec.name}", change)
    return result


class StepNotFound(Exception):
    """The class of a recorded step is not in its module any more."""


def _finish(attempt: Attempt, returned: Any) -> None:
    """Records the result as what its annotation says."""
    if isinstance(attempt.run, messages.RunCompensation):
        attempt.finish(None)
        return
    name = attempt.handler.spec.name
    try:
        result = _encoded_result(attempt, returned)
    except InvalidArgument as error:
        message = f"the result of {name}: {error}"
        attempt.fail_with(Failure(type="InvalidResult", message=message, non_retryable=True))
    except Exception as error:  # of a value's own code: it has run all the same, and is not to run again
        if not attempt.records_all:
            raise
        failure = failure_of(error)
        message = f"the result of {name}: {failure.type}: {failure.message}"
        attempt.fail_with(Failure(type="InvalidResult", message=message, non_retryable=True, cause=failure))
    else:
        attempt.finish(None if returned is None else result)
