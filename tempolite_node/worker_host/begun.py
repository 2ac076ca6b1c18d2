"""What the body of a synchronous handler has begun, and goes on beside: side effects, signals, timers, children.

An end of one has its place in the order of the log. The body gets ends when it waits, one at a time: of those that it
waits for, the one that was decided first. Answers reach the host in that order, so the first run goes as every replay.
What was begun is carried out like an operation of asynchronous code (`exact.runtime`), but in threads: a side effect
has one while its body runs. See docs/design/begun-operations.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from tempolite_node.engine import commands
from tempolite_node.engine.commands import AnyRequest
from tempolite_node.engine.effects import AnyAnswer, Granted
from tempolite_node.engine.model import OperationKind, OperationStatus
from tempolite_node.protocol import messages
from tempolite_node.worker_host.attempt import Attempt, AttemptOver, Waiter
from tempolite_node.worker_host.conversations import Ask, Conversation, InOrder, RunUserCode
from tempolite_node.worker_host.operations import conversation_of, timer
from tempolite_node.worker_host.replay import NO_END, raise_if_cancelled
from tempolite_node.worker_host.scopes import Scope, local_key
from tempolite_node.worker_host.sync_runtime import (
    SleepingThread,
    SyncRuntime,
    marked_beside,
    run_user_code,
    threads,
)
from tempolite_sdk import operations
from tempolite_sdk.durations import Duration, milliseconds_of
from tempolite_sdk.errors import ContextMisuse, FailedPrecondition, WaitTimeout
from tempolite_sdk.handlers import ChildHandle

logger = logging.getLogger("tempolite.handlers")

_OF_SIDE_EFFECTS = (commands.BeginSideEffect, commands.FailSideEffect)


class BodyRuntime(SyncRuntime):
    """What the context of a handler asks, which may begin operations and go on."""

    @property
    def beside(self) -> BegunOperations:
        scope = self.scope.innermost()
        attempt = self.attempt
        attempt.check_running()
        if scope.parent is not None:
            raise ContextMisuse("what is begun belongs to the handler itself, not to a side effect or a step of it")
        if attempt.begun is None:
            if not attempt.records_all:
                raise FailedPrecondition(
                    "the execution was enqueued by an earlier version, which can't begin operations"
                )
            attempt.begun = BegunOperations(attempt)
        assert isinstance(attempt.begun, BegunOperations)
        return attempt.begun


class _BesideRuntime(SyncRuntime):
    """The same, of what was begun."""

    is_begun = True


class BegunOperation:
    """As it goes on. What changes is guarded by the lock of all that its attempt has begun."""

    def __init__(self, of: BegunOperations, conversation: Conversation[Any], place: InOrder) -> None:
        record = place.record
        ended = record is not None and record.status not in NO_END
        self.of = of
        self.asked_as = ""  #: of a side effect: the key that it was asked for by; of a wait: the id of the child
        self.kind = place.kind
        self.key = place.key
        self.record = record
        self.conversation = conversation
        self.context = contextvars.copy_context()
        self.recorded = ended  #: its end is
        self.end: int | None = record.end_seq if ended and record is not None else None  #: the place of its end
        self.answer: AnyAnswer | None = None  #: at its end; None: the recorded one
        self.asks: Ask | None = None  #: that is open
        self.call = 0  #: its number
        self.runs = False  #: its code is run, or is about to be
        self.body: Scope | None = None  #: of the code that runs
        self.given_up = False
        self.released = False  #: the code of the handler has had it, or may have it when it asks
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def was_given_up(self) -> bool:
        """By the journal."""
        return self.record is not None and self.record.status is OperationStatus.GIVEN_UP

    def wake(self, answer: AnyAnswer | None) -> None:
        """The attempt is over: whoever waits for it is told by `BegunOperations.stop`."""

    def release(self) -> bool:
        """By the handler's code. False: that was not its end, and it goes on."""
        try:
            step = self.conversation.send(self.answer)
        except StopIteration as end:
            self.value = end.value
        except AttemptOver:
            raise
        except BaseException as error:
            self.error = error
        else:
            assert isinstance(step, Ask), f"{self.kind} {self.key} has ended, and is to be run"
            self.of.ask(self, step)
            return False
        self.released = True
        return True

    def outcome(self) -> Any:
        """Once it is released."""
        if self.error is not None:
            raise self.error
        return self.value

    def go_on(self, granted: Granted) -> None:
        """In a thread of its own."""
        attempt = self.of.attempt
        try:
            step = self.conversation.send(granted)
            while isinstance(step, RunUserCode):
                step = self._run(step)
            assert isinstance(step, Ask)
            self.of.ask(self, step)
        except AttemptOver:
            pass
        except BaseException as error:  # the conversation's own: it is no answer of the log
            if not attempt.over:
                attempt.fail(error)
                attempt.stop()
        finally:
            attempt.code.ends()

    def _run(self, body: RunUserCode) -> Any:
        """What its conversation wants next."""
        self.body = body.scope
        try:
            if self.given_up:
                raise asyncio.CancelledError(_GIVEN_UP)
            returned = run_user_code(body, self.of.attempt.code)
        except BaseException as error:  # user code may raise anything
            return self.conversation.throw(_given_up_by(error) if self.given_up else error)
        else:
            return self.conversation.send(returned)


_GIVEN_UP = "it was given up"


def _given_up_by(error: BaseException) -> BaseException:
    """What an error of code comes to that nobody waits for any more: no attempt follows."""
    if isinstance(error, AttemptOver):
        return error
    cancelled = asyncio.CancelledError(_GIVEN_UP)
    cancelled.__cause__ = error
    return cancelled


class BegunOperations:
    """Of one attempt, from when it first begins one on. Used by its code, by the threads of what was begun, and by the
    thread that reads what the node says."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self._runtime = _BesideRuntime(attempt, attempt.scope)
        self._lock = threading.RLock()
        self._side_effects: dict[str, BegunOperation] = {}  #: by the keys that they were asked for by
        self._children: dict[str, BegunOperation] = {}  #: waits, by the id of the child
        self._waits: dict[BegunOperation, None] = {}  #: that the code has had no answer of
        self._seen = 0  #: place of the last answer that came
        self._cancels = 0  #: that came
        self._quiet = False  #: the code of the handler can't go on by itself
        self._body_call = 0  #: that the code of the handler, or of what it is in, has open; 0: none
        self._body_asks: AnyRequest | messages.ChildRequest | None = None  #: in it, or in the last one
        self._awaited: Sequence[BegunOperation] = ()
        self._sleeper: SleepingThread | None = None  #: the code of the handler, which waits for what was begun
        self._parked = False
        self._say_quiet(messages.BUSY)

    # --- by the code of the handler

    def begin(self, operation: operations.Operation) -> BegunOperation:
        attempt = self.attempt
        begun = self._meet(conversation_of(self._runtime, attempt.scope, operation))
        try:
            if attempt.may_meet_cancel:
                live = begun.record is None and not self._goes_again()
                self._meet_cancel(f"{begun.kind}:{begun.key}", live=live)
            if begun.end is None and not begun.was_given_up:
                self._go_live(begun)
        except BaseException:
            begun.conversation.close()
            raise
        if begun.kind is OperationKind.SIDE_EFFECT:
            assert isinstance(operation, operations.RunSideEffect)
            begun.asked_as = attempt.scope.prefix + operation.key
            self._side_effects[begun.asked_as] = begun
        else:
            self._waits[begun] = None
        return begun

    def _meet(self, conversation: Conversation[Any]) -> BegunOperation:
        attempt = self.attempt
        attempt.ordered = attempt.journal.begins = True
        try:
            place = next(conversation)
        finally:
            attempt.ordered = attempt.journal.begins = False
        assert isinstance(place, InOrder), f"{type(place).__name__} before its place"
        return BegunOperation(self, conversation, place)

    def _goes_again(self) -> bool:
        """Whether the code has not come yet to all that was recorded before this stack: also not to an end of what it
        has begun by now, which it may have gone on with."""
        attempt = self.attempt
        begun = (*self._side_effects.values(), *self._waits)
        return attempt.journal.goes_again_in(attempt.scope) or any(
            each.recorded and not each.released for each in begun
        )

    def _go_live(self, begun: BegunOperation) -> None:
        step = begun.conversation.send(None)
        assert isinstance(step, Ask)
        self.ask(begun, step)

    def _meet_cancel(self, place: str, *, live: bool) -> None:
        attempt = self.attempt
        self._runtime.carry_out(raise_if_cancelled(attempt, attempt.scope, place, live=live))

    def wait_any(
        self, waited: Sequence[BegunOperation | ChildHandle[Any]], timeout: Duration | None, key: str | None
    ) -> int:
        """The place in the list of the one that has ended first."""
        awaited = [self._of(each) for each in waited]
        return awaited.index(self._first(awaited, "wait_any", timeout, key))

    def wait_all(
        self, waited: Sequence[BegunOperation | ChildHandle[Any]], timeout: Duration | None, key: str | None
    ) -> list[Any]:
        """What they come to, or the error of the first that has one."""
        awaited = [self._of(each) for each in waited]
        left = list(awaited)
        limit = self._limit("wait_all", timeout, key)
        try:
            while left:
                done = self._earliest(left, self._place("wait_all"), limit)
                if done is None:
                    raise WaitTimeout(f"{len(left)} of {len(awaited)} have not ended after {timeout}")
                done.outcome()
                left.remove(done)
        finally:
            self._lift(limit)
        for each in awaited:
            self._forget_child(each)
        return [each.value for each in awaited]

    def result(self, begun: BegunOperation) -> Any:
        self._of(begun)
        if not begun.released:
            self._first([begun], "result", None, None)
        self._forget_child(begun)
        return begun.outcome()

    def wait_for(self, operation: operations.WaitForCompletion) -> BegunOperation | None:
        """The wait for the child that was begun, if that is what is asked for."""
        if operation.type is not None or operation.timeout is not None or operation.key is not None:
            return None
        target = operation.target
        return self._children.get(target.id) if isinstance(target, ChildHandle) else None

    def give_up(self, which: BegunOperation | ChildHandle[Any]) -> None:
        """The code does not want it any more. Nothing comes of it when that has it already."""
        if isinstance(which, ChildHandle):
            wait = self._children.get(which.id)
            if wait is None:
                return
            which = wait
        elif which.of is not self:
            raise ContextMisuse(_FOREIGN)
        if which.given_up or which.released:
            return
        which.given_up = True
        if which.kind is OperationKind.SIDE_EFFECT:
            self._end_given_up(which)
        else:
            self._waits.pop(which, None)
            self._forget_child(which)
            self._give_up_wait(which)
            self.attempt.scope.leave_key(which.kind, local_key(which.key))

    def _of(self, which: BegunOperation | ChildHandle[Any]) -> BegunOperation:
        if isinstance(which, ChildHandle):
            wait = self._children.get(which.id)
            if wait is None:
                wait = self._children[which.id] = self.begin(operations.WaitForCompletion(which, None, None, None))
                wait.asked_as = which.id
            return wait
        if which.of is not self:
            raise ContextMisuse(_FOREIGN)
        if which.given_up:
            raise ContextMisuse(f"{which.kind} {local_key(which.key)} was given up: it can't be waited for")
        return which

    def check_key(self, key: str) -> None:
        """A side effect is asked for. ContextMisuse: it was begun, and neither waited for nor given up.

        One that was given up has ended by then, and begins anew unless it has completed.
        """
        begun = self._side_effects.get(key)
        if begun is None:
            return
        if not begun.released and not begun.given_up:
            raise ContextMisuse(
                f"the side effect {local_key(key)!r} was begun: wait for it, or give it up, before you ask for it again"
            )
        if begun.given_up and not begun.released:
            self._earliest([begun], self._place("again"), None)
        if begun.given_up and begun.error is not None:
            self.attempt.scope.leave_key(OperationKind.SIDE_EFFECT, local_key(begun.key))
        del self._side_effects[key]

    # --- waiting; by the code of the handler

    def _first(
        self, awaited: Sequence[BegunOperation], name: str, timeout: Duration | None, key: str | None
    ) -> BegunOperation:
        limit = self._limit(name, timeout, key)
        try:
            done = self._earliest(awaited, self._place(name), limit)
        finally:
            self._lift(limit)
        if done is None:
            raise WaitTimeout(f"none of {len(awaited)} has ended after {timeout}")
        return done

    def _place(self, name: str) -> str:
        """By which it is recorded that the code met a cancel there."""
        return f"{name}:{self.attempt.scope.counted(name, '')}"

    def _limit(self, name: str, timeout: Duration | None, key: str | None) -> BegunOperation | None:
        """The timer of a wait, as it is recorded; it is set if the wait is one."""
        if timeout is None:
            return None
        attempt = self.attempt
        duration_ms = milliseconds_of("timeout", timeout)
        assert duration_ms is not None
        place = attempt.scope.key_of(OperationKind.TIMER, name, key)
        return self._meet(timer(attempt, attempt.scope, place, duration_ms))

    def _lift(self, limit: BegunOperation | None) -> None:
        """The wait is over."""
        if limit is not None and not limit.released and not self.attempt.over:
            self._give_up_wait(limit)

    def _earliest(
        self, awaited: Sequence[BegunOperation], place: str | None, limit: BegunOperation | None
    ) -> BegunOperation | None:
        """Waits for the first of them to end. None: the time was up before.

        place: where a cancel is met; None: nowhere.
        """
        attempt = self.attempt
        competing = awaited if limit is None else (*awaited, limit)
        looks_for_cancel = place is not None
        while True:
            cancels = self._cancels
            done = self._ended_first(competing)
            if looks_for_cancel and attempt.may_meet_cancel:
                assert place is not None
                # What was recorded before this stack, and was there when the code came here, it went on with.
                again = done is not None and (done.recorded or attempt.journal.goes_again_in(attempt.scope))
                self._meet_cancel(place, live=not again)
                done = self._ended_first(competing)
            looks_for_cancel = False
            if done is not None:
                if done.released or done.release():
                    self._forget(done)
                    return None if done is limit else done
                continue
            if limit is not None and limit.asks is None and not limit.was_given_up:
                self._go_live(limit)
            looks_for_cancel = self._sleep(competing, cancels) and place is not None

    def _ended_first(self, competing: Sequence[BegunOperation]) -> BegunOperation | None:
        with self._lock:
            ended = [each for each in competing if each.end is not None]
            return min(ended, key=lambda each: each.end or 0, default=None)

    def _forget(self, released: BegunOperation) -> None:
        """Its code has had it. One that was given up is yet to tell whether it begins anew."""
        self._waits.pop(released, None)
        if not released.given_up:
            self._side_effects.pop(released.asked_as, None)
            error = released.error
            if isinstance(error, asyncio.CancelledError) and error.args == (_GIVEN_UP,):
                self._suspend_given_up(released)  # by the journal it was

    def _forget_child(self, wait: BegunOperation) -> None:
        """Its code has what the child returned, or does not want it. Waited for again, that is another wait."""
        if wait.kind is OperationKind.WAIT:
            self._children.pop(wait.asked_as, None)

    def _suspend_given_up(self, begun: BegunOperation) -> None:
        expected, actual = f"a {begun.kind} that was given up here", "one that is waited for"
        self.attempt.suspend(begun.kind, begun.key, expected=expected, actual=actual)

    def _sleep(self, competing: Sequence[BegunOperation], cancels: int) -> bool:
        """Until one of them has ended, or a cancel comes: whether it does. cancels: that had come by then."""
        attempt = self.attempt
        for each in competing:
            if each.was_given_up:
                self._suspend_given_up(each)
        attempt.journal.goes_on_anew(attempt.scope)
        sleeper = SleepingThread()
        with self._lock:
            attempt.check_running()
            if self._cancels != cancels:
                return True
            if any(each.end is not None for each in competing):
                return False
            self._awaited, self._sleeper, self._quiet = competing, sleeper, True
            seen = self._seen
        self._say_quiet(seen)
        self.look()
        sleeper.sleep()
        attempt.check_running()
        return self._cancels != cancels

    def _wake(self) -> None:
        """The code of the handler goes on. With the lock."""
        sleeper, self._sleeper = self._sleeper, None
        self._awaited, self._quiet = (), False
        if sleeper is not None:
            sleeper.wake(None)

    # --- taking leave; by the code of the handler

    def _give_up_wait(self, wait: BegunOperation) -> None:
        attempt = self.attempt
        with self._lock:
            asked = wait.asks is not None
            if asked:
                attempt.answered(wait.call)
                wait.asks = None
        wait.conversation.close()
        ended = wait.end is not None and wait.kind is not OperationKind.SIGNAL
        if not ended and not wait.was_given_up and (asked or wait.record is not None or wait.end is not None):
            attempt.send(commands.GiveUp(kind=wait.kind, key=wait.key), attempt.scope, None)
        self.look()

    def _end_given_up(self, side_effect: BegunOperation) -> None:
        """One that waits for a slot, or for its next attempt, ends at once. One that runs does when its body has."""
        with self._lock:
            asks = side_effect.asks
            if asks is None or not isinstance(asks.request, _OF_SIDE_EFFECTS) or _is_last(asks.request):
                return
            self.attempt.answered(side_effect.call)
            side_effect.asks = None
            step = side_effect.conversation.throw(asyncio.CancelledError(_GIVEN_UP))
        assert isinstance(step, Ask)
        self.ask(side_effect, step)

    def end(self) -> None:
        """The code has returned: side effects that it began come to their end before that counts."""
        for begun in self._in_order_of_ends(cancels=True):
            if begun.error is not None and not begun.given_up:
                logger.error("side effect %s failed, and nobody waited for it", begun.key, exc_info=begun.error)
        self._give_back()

    def leave(self) -> None:
        """The code has raised: no further attempt of a side effect follows, and what runs is waited for."""
        if self.attempt.over:
            return
        for begun in self._side_effects.values():
            self.give_up(begun)
        for _ in self._in_order_of_ends(cancels=False):
            pass
        self._give_back()

    def _give_back(self) -> None:
        """Signals that were taken for waits, and that the code has not had. Other waits are closed by the end."""
        for wait in list(self._waits):
            if wait.kind is OperationKind.SIGNAL and not wait.given_up:
                self.give_up(wait)

    def _in_order_of_ends(self, *, cancels: bool) -> list[BegunOperation]:
        left = [each for each in self._side_effects.values() if not each.released]
        ended = []
        while left:
            done = self._earliest(left, self._place("end") if cancels else None, None)
            assert done is not None
            left.remove(done)
            ended.append(done)
        return ended

    @property
    def unanswered_waits(self) -> tuple[tuple[OperationKind, str], ...]:
        return tuple((each.kind, each.key) for each in self._waits)

    # --- by the code of what was begun too

    def ask(self, begun: BegunOperation, step: Ask) -> None:
        attempt = self.attempt
        with self._lock:
            attempt.check_running(step.scope)
            begun.runs, begun.body, begun.asks = False, None, step
            begun.end, begun.answer, begun.recorded = None, None, False
            begun.call = attempt.send(marked_beside(step.request), step.scope, begun)
            if step.waits is not None:
                attempt.rest(begun.call, *step.waits, step.scope)
        if begun.given_up:
            self._end_given_up(begun)
        self.look()

    # --- by the attempt

    def asks(
        self, number: int, request: AnyRequest | messages.ChildRequest, scope: Scope, waiter: Waiter
    ) -> int | None:
        """A call is about to be sent. What the node is told of: place up to which the code is through, if it waits."""
        if isinstance(waiter, BegunOperation) or scope.beside:
            return None
        with self._lock:
            self._body_call, self._body_asks = number, request
            if scope.frame:
                return None
            self._quiet = True
            return self._seen

    def answered(self, message: messages.Reply) -> None:
        """By the thread that reads."""
        attempt, answer = self.attempt, message.answer
        with self._lock:
            self._seen = max(self._seen, message.end_seq)
            in_root = attempt.frame_of(message.call) == ""
            waiter = attempt.answered(message.call)
            if isinstance(waiter, BegunOperation):
                in_root = not isinstance(answer, Granted)
                self._answer(waiter, message)
            elif waiter is not None:
                if message.call == self._body_call:
                    self._body_call = 0
                    runs_side_effect = isinstance(answer, Granted) and isinstance(self._body_asks, _OF_SIDE_EFFECTS)
                    self._quiet = self._quiet and (runs_side_effect or not in_root)
                    in_root = in_root and not runs_side_effect
                waiter.wake(answer)
            told = self._seen if self._quiet and in_root else None
        if told is not None:
            self._say_quiet(told)
        self.look()

    def _answer(self, begun: BegunOperation, message: messages.Reply) -> None:
        begun.asks = None
        answer = message.answer
        if isinstance(answer, Granted):
            begun.runs = True
            self.attempt.code.begins()
            threads.start(partial(begun.context.copy().run, begun.go_on, answer))
            return
        begun.end, begun.answer = message.end_seq or self._seen, answer
        if begun in self._awaited:
            self._wake()

    def cancel(self, message: messages.CancelAttempt) -> None:
        """By the thread that reads."""
        with self._lock:
            self._cancels += 1
            self._seen = max(self._seen, message.cancel_seq)
            if self._sleeper is not None:
                self._wake()
            told = self._seen if self._quiet else None
        if told is not None:
            self._say_quiet(told)
        self.look()

    def unwind(self) -> bool:
        """Gives up the stack, if all that it does is to wait. Its waits stay with the node."""
        with self._lock:
            if self.attempt.over or not self._rests():
                return False
            self.attempt.give_up_stack()
            return True

    def stop(self) -> None:
        """The attempt is over."""
        with self._lock:
            self._wake()
        self.look()

    # --- parking: as a whole

    def look(self) -> None:
        """Parks the stack when all that it does is to wait."""
        attempt = self.attempt
        parking = attempt.services.parking
        with self._lock:
            rests = not attempt.over and self._rests()
            if rests is self._parked:
                return
            self._parked = rests
            if not rests:
                parking.remove(attempt, 0)
                return
        parking.add(attempt, 0)  # without the lock: it may unwind others
        with self._lock:
            if not self._parked:
                parking.remove(attempt, 0)

    def _rests(self) -> bool:
        if self._sleeper is None and not self.attempt.is_wait(self._body_call):
            return False
        begun = self._side_effects.values()
        return self.attempt.only_waits_beside([each.body for each in begun if each.runs])

    def _say_quiet(self, released: int) -> None:
        attempt = self.attempt
        channel = attempt.services.channel
        channel.add(messages.Quiet(execution_id=attempt.execution_id, epoch=attempt.epoch, released=released))
        channel.flush()


_FOREIGN = "what is waited for was begun by another attempt"


def _is_last(request: Any) -> bool:
    """Whether no other attempt follows the one that has failed."""
    return isinstance(request, commands.FailSideEffect) and request.failure.non_retryable
