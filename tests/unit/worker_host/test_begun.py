"""What the body of a synchronous handler begins and goes on beside, and how it waits for several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind, OperationStatus, Status
from tempolite_sdk import (
    Begun,
    Cancelled,
    ContextMisuse,
    ExecutionFailed,
    FailedPrecondition,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SideEffectContext,
    SideEffectFailed,
    WaitTimeout,
)

from .hosted import RETRIED, HostedNode, hosted


@pytest.fixture
def node() -> Iterator[HostedNode]:
    """One worker in each pool."""
    with hosted(workers=1) as node:
        yield node


Interrupt = Callable[[HostedNode, Callable[..., Any]], None]


def unwound(node: HostedNode, _body: Callable[..., Any]) -> None:
    node.unwind()


def killed(node: HostedNode, body: Callable[..., Any]) -> None:
    node.serve(body, asynchronous=False)


def left_alone(node: HostedNode, _body: Callable[..., Any]) -> None:
    pass


interrupted = pytest.mark.parametrize("interrupt", [left_alone, unwound, killed])


def start(node: HostedNode, body: Callable[..., Any], **fields: Any) -> None:
    node.serve(body, asynchronous=False)
    node.enqueue(**fields)


@interrupted
def test_the_one_that_ends_first_is_the_one_in_every_replay(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> list[str]:
        one, two, three = (ctx.start_signal(name, str) for name in ("one", "two", "three"))
        first = ctx.wait_any([one, two, three])
        ctx.receive_signal("pause")
        second = ctx.wait_any([one, three] if first is two else [two, three])
        ctx.receive_signal("pause")
        return [first.result(), second.result(), three.result()]

    start(node, body)
    node.rest()
    node.signal("two", "2")
    node.rest()
    node.signal("one", "1")
    interrupt(node, body)
    node.signal("pause")
    node.rest()
    interrupt(node, body)
    node.signal("three", "3")
    node.signal("pause")

    assert node.result() == ["2", "1", "3"]


@interrupted
def test_a_timer_that_ends_before_the_signal_stays_the_first(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> str:
        approval, deadline = ctx.start_signal("approve", str), ctx.start_timer(60)
        done: Begun[Any] = ctx.wait_any([approval, deadline])
        ctx.receive_signal("go")
        return "late" if done is deadline else approval.result()

    start(node, body)
    node.rest()
    node.advance(60_000)
    node.rest()
    node.signal("approve", "yes")
    interrupt(node, body)
    node.signal("go")

    assert node.result() == "late"


@interrupted
def test_side_effects_run_beside_the_body_and_beside_each_other(node: HostedNode, interrupt: Interrupt) -> None:
    with hosted(workers=2) as node:
        together = threading.Barrier(3)

        def body(ctx: HandlerContext) -> list[int]:
            def effect(number: int) -> int:
                together.wait(20)
                return number

            begun = [ctx.start_side_effect(f"effect-{n}", lambda n=n: effect(n), type=int) for n in range(2)]
            if node.begun == 1:
                together.wait(20)
            values = ctx.wait_all(begun)
            ctx.receive_signal("go")
            return values

        start(node, body)
        node.rest()
        interrupt(node, body)
        node.signal("go")

        assert node.result() == [0, 1]


def test_with_one_worker_in_each_pool_all_comes_to_an_end(node: HostedNode) -> None:
    def body(ctx: HandlerContext, depth: int = 1) -> list[Any]:
        if depth == 0:
            return [ctx.receive_signal("go")]
        children = [ctx.enqueue("h", 0) for _ in range(2)]
        waiting = ctx.start_side_effect("waits", lambda inner: inner.wait_for_completion(children[0]), type=list)
        others = [ctx.start_side_effect(f"n-{n}", lambda n=n: n, type=int) for n in range(3)]
        for child in children:
            ctx.send_signal("go", depth, to=child.id)
        done = ctx.wait_any([waiting, *children])
        ctx.sleep(0)
        assert done is waiting or done in children
        return [waiting.result(), ctx.wait_for_completion(children[1]), ctx.wait_all(others)]

    start(node, body)

    assert node.result() == [[1], [1], [0, 1, 2]]


# --- timeouts


@interrupted
def test_a_timeout_is_raised_where_nothing_has_ended_in_time(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> str:
        answer = ctx.start_signal("answer", str)
        try:
            ctx.wait_any([answer], timeout=60)
        except WaitTimeout as error:
            ctx.receive_signal("go")
            return f"{error}, but then {answer.result()}"
        return "in time"

    start(node, body)
    node.rest()
    node.advance(60_000)
    node.rest()
    node.signal("answer", "yes")
    interrupt(node, body)
    node.signal("go")

    assert node.result() == "none of 1 has ended after 60, but then yes"


@interrupted
def test_the_timer_of_a_wait_that_was_over_in_time_is_given_up(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> str:
        answer = ctx.start_signal("answer", str)
        value = ctx.wait_any([answer], timeout=60).result()
        ctx.receive_signal("go")
        return value

    start(node, body)
    node.rest()
    node.signal("answer", "yes")
    node.rest()
    interrupt(node, body)
    node.signal("go")

    assert node.result() == "yes"
    timer = node.executions.operation(node.execution().row, OperationKind.TIMER, "wait_any#1")
    assert timer is not None
    assert timer.status is OperationStatus.GIVEN_UP


def test_a_wait_for_what_has_ended_sets_no_timer(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> str:
        answer = ctx.start_signal("answer", str)
        ctx.receive_signal("go")
        return ctx.wait_any([answer], timeout=60).result()

    start(node, body)
    node.rest()
    node.signal("answer", "yes")
    node.rest()
    node.signal("go")

    assert node.result() == "yes"
    assert node.executions.operation(node.execution().row, OperationKind.TIMER, "wait_any#1") is None


# --- children


@interrupted
def test_a_child_that_ended_first_gives_its_result_without_another_wait(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext, number: int = 0) -> Any:
        if number:
            return ctx.receive_signal("go", int) * number
        one, two = ctx.enqueue("h", 1), ctx.enqueue("h", 2)
        ctx.send_signal("children", [one.id, two.id])
        first = ctx.wait_any([one, two])
        other = one if first is two else two
        results = [first is two, ctx.wait_for_completion(first), ctx.wait_for_completion(other)]
        ctx.receive_signal("end")
        return results

    start(node, body)
    node.rest()
    _, one, two = (execution.id for execution in node.all_executions())
    node.signal("go", 7, two)
    node.rest()
    node.signal("go", 5, one)
    node.rest()
    interrupt(node, body)
    node.signal("end")

    assert node.result() == [True, 14, 5]
    assert len(waits_of(node)) == 2


def waits_of(node: HostedNode) -> list[Any]:
    row = node.execution().row
    recorded = node.executions.operations(row, 1 << 20) or []
    return [each for each in recorded if each.kind is OperationKind.WAIT]


def test_the_error_of_the_first_that_fails_is_raised_and_the_others_stay_open(node: HostedNode) -> None:
    def body(ctx: HandlerContext, number: int = 0) -> Any:
        if number:
            raise ValueError("no")
        child = ctx.options(retry=RetryPolicy(maximum_attempts=1)).enqueue("h", 1)
        answer = ctx.start_signal("answer", str)
        try:
            ctx.wait_all([answer, child])
        except ExecutionFailed:
            return answer.result()

    start(node, body)
    node.until(lambda: node.execution("x").status is Status.WAITING)
    node.now_ms += 600_000
    node.until(lambda: len(node.all_executions()) == 2)
    for _ in range(5):
        node.advance(600_000)
        node.rest()
    node.signal("answer", "yes")

    assert node.result() == "yes"


# --- giving up


@interrupted
def test_a_signal_that_was_taken_for_what_is_given_up_is_the_next_waits(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> list[str]:
        first, second = ctx.start_signal("word", str), ctx.start_signal("word", str)
        ctx.receive_signal("go")
        ctx.give_up(first)
        ctx.receive_signal("go")
        return [second.result(), ctx.receive_signal("word", str)]

    start(node, body)
    node.rest()
    node.signal("word", "a")
    node.rest()
    node.signal("go")
    node.rest()
    interrupt(node, body)
    node.signal("word", "b")
    node.signal("go")

    assert node.result() == ["a", "b"]


@interrupted
def test_a_key_that_was_given_up_begins_anew(node: HostedNode, interrupt: Interrupt) -> None:
    def body(ctx: HandlerContext) -> str:
        ctx.give_up(ctx.start_signal("word", str, key="w"))
        again = ctx.start_signal("word", str, key="w")
        ctx.receive_signal("go")
        return again.result()

    start(node, body)
    node.rest()
    interrupt(node, body)
    node.signal("go")
    node.rest()
    node.signal("word", "a")

    assert node.result() == "a"


@interrupted
def test_a_side_effect_that_is_given_up_before_its_next_attempt_ends_and_its_key_begins_anew(
    node: HostedNode, interrupt: Interrupt
) -> None:
    runs: list[int] = []

    def body(ctx: HandlerContext) -> str:
        def charge() -> str:
            runs.append(1)
            if len(runs) == 1:
                raise ConnectionError
            return "charged"

        retry = RetryPolicy(initial_interval=3_600)
        begun = ctx.start_side_effect("charge", charge, retry=retry)
        ctx.receive_signal("go")
        ctx.give_up(begun)
        ctx.receive_signal("go")
        return ctx.side_effect("charge", charge, retry=retry)

    start(node, body)
    node.until(lambda: runs and not node.said.queue.qsize())
    node.rest()
    node.signal("go")
    node.rest()
    interrupt(node, body)
    node.signal("go")

    assert (node.result(), len(runs)) == ("charged", 2)


@interrupted
def test_a_side_effect_that_runs_when_it_is_given_up_ends_when_its_body_does(
    node: HostedNode, interrupt: Interrupt
) -> None:
    runs: list[int] = []
    gate, begun_running = threading.Event(), threading.Event()

    def body(ctx: HandlerContext) -> list[str]:
        def fetch() -> str:
            runs.append(1)
            begun_running.set()
            assert gate.wait(20)
            return "page"

        begun = ctx.start_side_effect("fetch", fetch)
        if len(runs) == 0:
            assert begun_running.wait(20)
        ctx.give_up(begun)
        ctx.receive_signal("go")
        return [ctx.side_effect("fetch", fetch), ctx.receive_signal("end", str)]

    start(node, body)
    node.until(begun_running.is_set)
    node.signal("go")
    gate.set()
    node.rest()
    interrupt(node, body)
    node.signal("end", "end")

    assert (node.result(), len(runs)) == (["page", "end"], 1)


# --- the end of the handler


@pytest.mark.parametrize("raises", [False, True])
def test_a_handler_that_ends_waits_for_the_side_effects_that_run(node: HostedNode, raises: bool) -> None:
    gate, ran = threading.Event(), threading.Event()

    def body(ctx: HandlerContext) -> str:
        def effect() -> str:
            ran.set()
            assert gate.wait(20)
            return "done"

        ctx.start_side_effect("effect", effect)
        assert ran.wait(20)
        if raises:
            raise ValueError("no")
        return "returned"

    start(node, body)
    node.until(ran.is_set)
    node.until(lambda: node.busy() == {"side_effect": 1})
    assert not node.execution().closed
    gate.set()
    node.until(lambda: node.execution().closed)

    effect = node.executions.operation(node.execution().row, OperationKind.SIDE_EFFECT, "effect")
    assert effect is not None
    assert effect.status is OperationStatus.COMPLETED
    assert node.execution().status is (Status.FAILED if raises else Status.COMPLETED)


def test_a_handler_that_raised_leaves_no_next_attempt_to_what_it_began(node: HostedNode) -> None:
    failed = threading.Event()

    def body(ctx: HandlerContext) -> None:
        def effect() -> None:
            failed.set()
            raise ConnectionError

        ctx.start_side_effect("effect", effect, retry=RetryPolicy(initial_interval=3_600, maximum_attempts=0))
        ctx.receive_signal("go")
        raise ValueError("no")

    start(node, body)
    node.until(failed.is_set)
    node.rest()
    node.signal("go")
    node.until(lambda: node.execution().closed)

    assert node.execution().failure is not None
    assert node.execution().failure.type == "ValueError"


def test_waits_that_are_open_when_the_handler_returns_are_closed(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> str:
        ctx.start_signal("never")
        ctx.start_timer(3_600)
        return "returned"

    start(node, body)

    assert node.result() == "returned"


def test_what_is_begun_ends_before_a_run_is_continued_and_signals_that_were_not_seen_go_over(node: HostedNode) -> None:
    done: list[int] = []

    def body(ctx: HandlerContext, run: int = 0) -> str:
        if run == 1:
            return ctx.receive_signal("word", str)
        ctx.start_signal("word", str)
        ctx.receive_signal("go")
        ctx.start_side_effect("effect", lambda: done.append(run))
        return ctx.continue_as_new(1)

    start(node, body)
    node.rest()
    node.signal("word", "unseen")
    node.signal("go")

    assert (node.result(), done) == ("unseen", [0])


# --- cancels


@interrupted
def test_a_cancel_is_raised_where_the_code_waits_and_in_replay_there_too(
    node: HostedNode, interrupt: Interrupt
) -> None:
    def body(ctx: HandlerContext) -> list[Any]:
        begun = [ctx.start_signal(name, str) for name in ("one", "two")]
        seen: list[Any] = []
        try:
            ctx.wait_any(begun, timeout=3_600)
        except Cancelled as cancelled:
            seen.append(cancelled.reason)
        ctx.receive_signal("go")
        return [*seen, ctx.wait_any(begun).result(), ctx.cancelled]

    start(node, body)
    node.rest()
    node.cancel()
    node.rest()
    node.signal("two", "2")
    node.rest()
    interrupt(node, body)
    node.signal("go")

    assert node.result() == ["enough", "2", True]


@pytest.mark.parametrize("parked", [True, False])
def test_a_cancel_reaches_what_was_unwound(node: HostedNode, parked: bool) -> None:
    def body(ctx: HandlerContext) -> str:
        begun = ctx.start_signal("never")
        try:
            ctx.wait_any([begun])
        except Cancelled:
            return "cancelled"
        return "went on"

    node.parked_max = 1_000 if parked else 0
    start(node, body)
    if parked:
        node.rest()
        node.unwind()
    else:
        node.until(lambda: not node.execution().attached and node.begun)
    node.cancel()

    assert node.result() == "cancelled"


def test_a_cancel_does_not_reach_into_what_goes_on_beside_the_body(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> list[Any]:
        def effect(inner: SideEffectContext) -> str:
            inner.sleep(60)
            return inner.receive_signal("word", str)

        begun = ctx.start_side_effect("effect", effect)
        try:
            ctx.receive_signal("never")
        except Cancelled:
            return ["cancelled", begun.result()]
        return ["went on"]

    start(node, body)
    node.rest()
    node.cancel()
    node.until(lambda: node.executions.operation(1, OperationKind.SIDE_EFFECT, "x") is None and node.said.queue.empty())
    node.advance(60_000)
    node.rest()
    node.signal("word", "done")

    assert node.result() == ["cancelled", "done"]


def test_a_handler_that_leaves_by_the_cancel_ends_cancelled(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> None:
        ctx.start_side_effect("effect", lambda inner: inner.receive_signal("go"))
        ctx.wait_all([ctx.start_signal("never")])

    start(node, body)
    node.rest()
    node.cancel()
    node.rest()
    assert not node.execution().closed
    node.signal("go")
    node.until(lambda: node.execution().closed)

    assert node.execution().status is Status.CANCELLED


# --- unwinding


def test_with_no_stack_kept_a_handler_begins_once_for_each_end(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> list[Any]:
        begun = [ctx.start_signal(name, str) for name in ("a", "b", "c")]
        seen = []
        while begun:
            done = ctx.wait_any(begun, timeout=3_600)
            begun.remove(done)
            seen.append(done.result())
        return seen

    node.parked_max = 0
    start(node, body)
    for name in ("b", "c", "a"):
        node.until(lambda: not any(each.attached or each.ready_at for each in node.all_executions()))
        node.signal(name, name)

    assert node.result() == ["b", "c", "a"]
    assert node.begun == 4


def test_a_stack_whose_side_effect_runs_is_kept(node: HostedNode) -> None:
    gate, ran = threading.Event(), threading.Event()
    runs: list[int] = []

    def body(ctx: HandlerContext) -> list[Any]:
        def effect() -> str:
            runs.append(1)
            ran.set()
            assert gate.wait(20)
            return "done"

        begun = ctx.start_side_effect("effect", effect)
        word = ctx.start_signal("word", str)
        return ctx.wait_all([begun, word])

    start(node, body)
    node.until(ran.is_set)
    node.until(lambda: node.busy() == {"side_effect": 1})
    node.expire()
    gate.set()
    node.rest()
    node.unwind()
    node.signal("word", "w")

    assert (node.result(), runs, node.begun) == (["done", "w"], [1], 2)


def test_a_side_effect_that_waits_inside_is_unwound_with_its_body(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> Any:
        begun = ctx.start_side_effect("effect", lambda inner: inner.receive_signal("inside", str), type=str)
        return [begun.result(), ctx.start_timer(0).result()]

    start(node, body)
    node.rest()
    node.unwind()
    node.signal("inside", "word")

    assert node.result() == ["word", None]


# --- retries of side effects, and of the handler


def test_a_side_effect_that_was_begun_is_tried_again_by_its_policy(node: HostedNode) -> None:
    runs: list[int] = []

    def body(ctx: HandlerContext) -> int:
        def effect() -> int:
            runs.append(1)
            if len(runs) < 3:
                raise ConnectionError
            return len(runs)

        return ctx.start_side_effect("effect", effect, retry=RetryPolicy(initial_interval=60, jitter=0)).result()

    start(node, body)
    for failures in (1, 2):
        node.until(lambda: len(runs) == failures and len(node.parking) and node.said.queue.empty())  # noqa: B023
        node.advance(200_000)

    assert node.result() == 3


def test_one_that_has_spent_its_attempts_fails_who_waits_for_it_and_the_next_attempt_begins_it_anew(
    node: HostedNode,
) -> None:
    runs: list[int] = []

    def body(ctx: HandlerContext) -> int:
        def effect() -> int:
            runs.append(1)
            if len(runs) == 1:
                raise ConnectionError
            return len(runs)

        begun = ctx.start_side_effect("effect", effect, retry=RetryPolicy(maximum_attempts=1))
        try:
            ctx.wait_any([begun])
            return begun.result()
        except SideEffectFailed:
            with pytest.raises(SideEffectFailed):
                begun.result()
            raise ValueError("anew") from None

    start(node, body, options=RETRIED)
    node.until(lambda: node.execution().due_ms is not None)
    node.advance(60_000)

    assert node.result() == 2


def test_the_time_of_a_handler_cuts_it(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> None:
        ctx.wait_all([ctx.start_signal("never"), ctx.start_timer(3_600)])

    start(node, body, max_duration_ms=60_000)
    node.rest()
    node.advance(60_000)

    assert node.execution().status is Status.TIMED_OUT
    node.until(lambda: len(node.parking) == 0)


# --- slots


def test_the_slot_is_held_while_the_body_runs_and_not_while_it_waits(node: HostedNode) -> None:
    gate, goes_on = threading.Event(), threading.Event()

    def body(ctx: HandlerContext) -> list[Any]:
        begun = [ctx.start_signal(name, str) for name in ("a", "b")]
        ctx.now()
        goes_on.set()
        assert gate.wait(20)
        return ctx.wait_all(begun)

    start(node, body)
    node.until(goes_on.is_set)
    node.until(lambda: node.execution().status is Status.WAITING)
    assert node.busy() == {"handler": 1}
    gate.set()
    node.rest()
    assert node.busy() == {}
    node.signal("a", "a")  # not the last
    node.rest()
    assert node.busy() == {}
    node.signal("b", "b")

    assert node.result() == ["a", "b"]


# --- misuse


def misuse(body: Callable[[HandlerContext], object], node: HostedNode, component: Any = HandlerContext) -> str:
    def wrong(ctx: Any) -> str:
        try:
            body(ctx)
        except (ContextMisuse, FailedPrecondition) as error:
            return str(error)
        return "nothing was wrong"

    wrong.__annotations__["ctx"] = component
    start(node, wrong, saga=component is SagaContext)
    result = node.result()
    assert isinstance(result, str)
    return result


def of_another_attempt(ctx: HandlerContext, other: list[Any]) -> None:
    other.append(ctx.start_signal("b"))
    ctx.wait_any([other[0]], timeout=0)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lambda ctx: ctx.wait_any([]), "the list is empty"),
        (lambda ctx: ctx.wait_all([]), "the list is empty"),
        (lambda ctx: ctx.wait_any([ctx.now()]), "what `ctx.start_…` and `ctx.enqueue` return"),
        (lambda ctx: ctx.wait_any([ctx.start_signal("a", key="a")] * 2), "Begun(signal 'a') is in the list twice"),
        (lambda ctx: ctx.give_up("a"), "what `ctx.start_…` and `ctx.enqueue` return"),
        (lambda ctx: given_up(ctx).result(), "signal a#1 was given up: it can't be waited for"),
        (lambda ctx: ctx.side_effect("e", lambda: misused(ctx)), "nothing was wrong"),
        (lambda ctx: [ctx.start_side_effect("e", len_of_it) for _ in range(2)], "the side effect 'e' was begun: wait"),
        (
            lambda ctx: (ctx.start_side_effect("e", len_of_it), ctx.side_effect("e", len_of_it)),
            "was begun: wait for it",
        ),
        (lambda ctx: (ctx.start_signal("a", key="k"), ctx.start_signal("a", key="k")), "used for two operations"),
    ],
)
def test_what_can_not_be_is_told(node: HostedNode, body: Callable[[HandlerContext], object], told: str) -> None:
    assert told in misuse(body, node)


def misused(ctx: HandlerContext) -> None:
    with pytest.raises(ContextMisuse, match="belongs to the handler itself, not to a side effect"):
        ctx.start_timer(1)


def given_up(ctx: HandlerContext) -> Begun[Any]:
    begun = ctx.start_signal("a")
    ctx.give_up(begun)
    return begun


def len_of_it() -> int:
    return 1


def test_a_handle_of_another_attempt_is_told(node: HostedNode) -> None:
    kept: list[Any] = []

    def body(ctx: HandlerContext) -> str:
        kept.append(ctx.start_signal("a"))
        if len(kept) == 1:
            raise ValueError("again")
        try:
            ctx.wait_any([kept[0]])
        except ContextMisuse as error:
            return str(error)
        return "nothing was wrong"

    start(node, body, options=RETRIED)
    node.until(lambda: node.execution().due_ms is not None)
    node.advance(60_000)

    assert node.result() == "what is waited for was begun by another attempt"


def test_an_execution_of_an_earlier_format_is_refused_it(node: HostedNode) -> None:
    node.format = 2

    assert "enqueued by an earlier version" in misuse(lambda ctx: ctx.start_signal("a"), node)


def test_a_context_of_a_side_effect_that_was_begun_is_of_its_own_thread(node: HostedNode) -> None:
    contexts: list[SideEffectContext] = []

    def wrong(ctx: HandlerContext) -> None:
        def effect(inner: SideEffectContext) -> None:
            contexts.append(inner)
            inner.receive_signal("go")

        ctx.start_side_effect("e", effect)
        ctx.start_signal("begun", key="b")
        ctx.receive_signal("used")
        try:
            contexts[0].now()
        finally:
            ctx.send_signal("go", to=ctx.execution_id)

    def wrapped(ctx: HandlerContext) -> str:
        try:
            wrong(ctx)
        except ContextMisuse as error:
            return str(error)
        return "nothing was wrong"

    start(node, wrapped)
    node.rest()
    node.signal("used")

    assert node.result() == "the context was used in another thread than its call's"


@pytest.mark.parametrize("component", [HandlerContext, SagaContext])
def test_sagas_begin_operations_as_handlers_do(node: HostedNode, component: Any) -> None:
    assert misuse(lambda ctx: ctx.wait_all([ctx.start_timer(0)]), node, component) == "nothing was wrong"


def test_a_signal_that_an_attempt_took_and_did_not_read_is_for_the_next_one(node: HostedNode) -> None:
    attempts: list[int] = []

    def body(ctx: HandlerContext) -> str:
        attempts.append(ctx.attempt)
        begun = ctx.start_signal("go", str)
        ctx.receive_signal("fail")
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return begun.result()

    node.serve(body, asynchronous=False)
    node.enqueue(options=RETRIED)
    node.rest()
    node.signal("go", "word")
    node.rest()
    node.signal("fail")
    node.until(lambda: node.execution().attempt == 1 and node.execution().failures == 1)
    node.advance(10)

    assert node.result() == "word"
    assert set(attempts) == {1, 2}
