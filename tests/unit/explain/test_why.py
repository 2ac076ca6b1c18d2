"""Each thing that may hold an execution back is named, with since when, what is next and what can be done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

import tempolite_sdk as sdk
from tempolite_node.driver.pools import RateLimit
from tempolite_node.engine.commands import Enqueue
from tempolite_node.engine.model import Component, Options, RetryPolicy, Status
from tempolite_node.explain.facts import Known, Look, PoolLook, executions_in, stored
from tempolite_node.explain.model import CauseKind, Explanation
from tempolite_node.explain.why import explain
from tempolite_node.node.looks import look_at
from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncTransactionContext,
    HandlerContext,
)
from tests.kit.node import NODE, ONCE, Node
from tests.kit.node import node as started

HOUR_MS = 3_600_000


class Held:
    """Code that goes on until the test lets it."""

    def __init__(self) -> None:
        self.node: Node | None = None
        self._let_go = threading.Event()

    def wait(self) -> None:
        assert self.node is not None
        released = self.node.host.holds()
        self._let_go.wait(20)
        released()

    def let_go(self) -> None:
        self._let_go.set()


held = Held()


def slow(_ctx: HandlerContext) -> None:
    held.wait()


def with_slow_side_effect(ctx: HandlerContext) -> None:
    ctx.side_effect("charge", held.wait)


async def approval(ctx: AsyncHandlerContext) -> None:
    await ctx.receive_signal("approved")


async def impatient(ctx: AsyncHandlerContext) -> None:
    await ctx.receive_signal("approved", timeout=7_200)


async def nap(ctx: AsyncHandlerContext) -> None:
    await ctx.sleep(3_600)


async def parent(ctx: AsyncHandlerContext) -> None:
    await ctx.wait_for_completion(await ctx.enqueue(middle))


async def middle(ctx: AsyncHandlerContext) -> None:
    await ctx.wait_for_completion(await ctx.enqueue(approval))


async def broken(_ctx: AsyncHandlerContext) -> None:
    raise ValueError("no such order")


def refuse() -> None:
    raise ConnectionError("refused")


async def with_broken_side_effect(ctx: AsyncHandlerContext) -> None:
    retry = sdk.RetryPolicy(maximum_attempts=5, initial_interval=60, jitter=0)
    await ctx.side_effect("charge", refuse, retry=retry)


async def both(ctx: AsyncHandlerContext) -> None:
    first = asyncio.create_task(ctx.receive_signal("approved"))
    second = asyncio.create_task(ctx.sleep(3_600))
    await asyncio.gather(first, second)


@dataclass
class Charge(AsyncSagaStep):
    async def transaction(self, _ctx: AsyncTransactionContext) -> None: ...

    async def compensation(self, _ctx: AsyncCompensationContext) -> None:
        raise ConnectionError("refused")


async def charging(ctx: AsyncSagaContext) -> None:
    await ctx.step(Charge(), key="charge")
    raise ValueError("out of stock")


changing: list[str] = ["first"]


async def changed_code(ctx: AsyncHandlerContext) -> None:
    await ctx.send_signal("progress", changing[0])
    await ctx.receive_signal("approved")


HANDLERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        slow,
        with_slow_side_effect,
        approval,
        impatient,
        nap,
        parent,
        middle,
        broken,
        with_broken_side_effect,
        both,
        charging,
        changed_code,
    )
}


@pytest.fixture
def node() -> Iterator[Node]:
    with a_node() as one:
        yield one


@contextmanager
def a_node(**settings: Any) -> Iterator[Node]:
    global held
    held = Held()
    with started(HANDLERS, **settings) as one:
        held.node = one
        try:
            yield one
        finally:
            held.let_go()
            one.settle()


def enqueue(node: Node, handler: str, id: str = "order-1", *, options: Options = ONCE, **fields: Any) -> None:
    component = Component.SAGA if handler == "charging" else Component.HANDLER
    command = Enqueue(
        at_ms=node.now_ms,
        execution_id=id,
        request_id=id,
        component=component,
        handler=handler,
        arguments=b"[]",
        options=options,
        **fields,
    )
    node.ask(command)
    node.settle()


def known(node: Node, *ids: str) -> Known:
    nodes = node.store.nodes()
    served = frozenset(each.name for one in nodes.values() for each in one.handlers)
    looks = {NODE: look_at(NODE, node.driver, ids)}
    return Known(now_ms=node.now_ms, nodes=nodes, looks=looks, served=served)


def explained(node: Node, id: str = "order-1", **besides: Any) -> Explanation:
    found = stored(node.queries, node.execution(id), node.now_ms)
    all_known = known(node, *(each.id for each in executions_in(found)))
    return explain(found, replace(all_known, **besides))


# --- waits


def test_a_signal_that_is_missing_is_named_with_what_lies_unread_under_a_near_name(node: Node) -> None:
    enqueue(node, "approval")
    node.signal("order-1", "aproved", None)
    node.now_ms += 2 * HOUR_MS

    found = explained(node)

    assert found.sentence == (
        'approval order-1 waits for signal "approved" since 2 h; 1 unread signal "aproved": was that meant?'
    )
    (cause,) = found.causes
    assert cause.kind is CauseKind.SIGNAL
    assert cause.since_ms == node.now_ms - 2 * HOUR_MS
    assert (cause.name, cause.names) == ("approved", ("aproved",))
    assert cause.operation_id.startswith("order-1/signal/")
    assert any("send_signal" in action for action in found.actions)


def test_a_wait_that_times_out_tells_when(node: Node) -> None:
    enqueue(node, "impatient")
    node.now_ms += HOUR_MS

    found = explained(node)

    assert found.next == "the wait times out (in 1 h)"
    assert found.next_ms == node.now_ms + HOUR_MS


def test_a_timer_is_told_until_when(node: Node) -> None:
    enqueue(node, "nap")
    node.now_ms += HOUR_MS // 2

    found = explained(node)

    assert found.sentence == "nap order-1 waits for its timer (in 30 min), since 30 min"
    assert found.causes[0].kind is CauseKind.TIMER
    assert found.next == "its timer is over (in 30 min)"


def test_what_a_child_waits_for_is_told_down_to_the_root(node: Node) -> None:
    enqueue(node, "parent")
    node.now_ms += HOUR_MS

    found = explained(node)

    child = node.execution("child-1"), node.execution("child-2")
    assert found.sentence == (
        f"parent order-1 waits for the end of middle {child[0].id} since 1 h, "
        f"which waits for the end of approval {child[1].id} since 1 h, "
        'which waits for signal "approved" since 1 h'
    )
    assert found.causes[0].awaited is not None
    assert found.causes[0].awaited.execution_id == child[0].id
    assert any(f'client.handle("{child[1].id}").send_signal("approved"' in action for action in found.actions)


def test_each_of_several_waits_is_a_cause(node: Node) -> None:
    enqueue(node, "both")

    found = explained(node)

    assert {cause.kind for cause in found.causes} == {CauseKind.SIGNAL, CauseKind.TIMER}
    assert found.sentence.endswith("; and 1 other cause")
    assert found.next == "its timer is over (in 1 h)"


# --- towards a slot


def test_a_full_pool_tells_who_holds_it_and_how_many_are_before(node: Node) -> None:
    with a_node(workers=1) as node:
        enqueue(node, "slow", "holder")
        enqueue(node, "slow", "first")
        enqueue(node, "slow", "second")
        node.now_ms += 60_000

        found = explained(node, "second")

        assert found.sentence == (
            "slow second waits for a slot of pool handler of node kit: 1 of 1 are taken by holder;"
            " 1 execution before it, since 1 min"
        )
        (cause,) = found.causes
        assert cause.kind is CauseKind.POOL_FULL
        assert (cause.names, cause.ahead) == (("holder",), 1)
        assert any("scale_pool('handler'" in action for action in found.actions)


def test_a_paused_pool_is_named(node: Node) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "slow")

    found = explained(node)

    assert found.causes[0].kind is CauseKind.POOL_PAUSED
    assert any("resume_pool('handler')" in action for action in found.actions)


def test_a_rate_limit_tells_until_when(node: Node) -> None:
    node.driver.dispatch.pools[Component.HANDLER].rate = RateLimit(0.1, node.now_ms / 1_000)
    enqueue(node, "approval", "first")
    enqueue(node, "approval")

    found = explained(node)

    assert found.causes[0].kind is CauseKind.RATE_LIMIT
    assert found.causes[0].until_ms == node.now_ms + 10_000
    assert found.next == "the rate limit of pool handler lets the next one start (in 10 s)"


def test_a_concurrency_key_tells_who_holds_it(node: Node) -> None:
    enqueue(node, "approval", "holder", concurrency_key="customer-1")
    enqueue(node, "approval", "first", concurrency_key="customer-1")
    enqueue(node, "approval", "second", concurrency_key="customer-1")

    found = explained(node, "second")

    assert found.causes[0].kind is CauseKind.CONCURRENCY_KEY
    assert found.causes[0].names == ("holder",)
    assert found.causes[0].ahead == 1
    assert "concurrency key 'customer-1' (held by holder); 1 execution before it" in found.sentence


def test_a_handler_that_nobody_serves_is_asked_for_by_the_nearest_name(node: Node) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "approval")
    (one,) = node.store.nodes().values()
    renamed = replace(one, handlers=tuple(replace(each, name=f"{each.name}s") for each in one.handlers))

    found = explained(node, nodes={NODE: renamed}, served=frozenset(each.name for each in renamed.handlers))

    assert found.causes[0].kind is CauseKind.NO_NODE
    assert found.causes[0].names == ("approvals",)
    assert "none does (was it renamed to approvals?)" in found.sentence


@pytest.mark.parametrize(
    ("state", "kind", "told"),
    [({"live": False}, CauseKind.NODES_DOWN, "kit (down)"), ({"draining": True}, CauseKind.DRAINING, "kit (stopping)")],
)
def test_nodes_that_are_down_or_stopping_are_named(node: Node, state: Any, kind: CauseKind, told: str) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "approval")
    (one,) = node.store.nodes().values()

    found = explained(node, nodes={NODE: replace(one, **state)})

    assert found.causes[0].kind is kind
    assert told in found.sentence


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        (Look(node_id=NODE, draining=True), CauseKind.DRAINING),
        (Look(node_id=NODE, registered=False), CauseKind.CATCHING_UP),
        (Look(node_id=NODE, hosts_up=0), CauseKind.NO_HOST),
        (Look(node_id=NODE, code_goes_on=("order-1",)), CauseKind.CODE_GOES_ON),
        (Look(node_id=NODE, tried_alone="suspect"), CauseKind.TRIAL),
        (Look(node_id=NODE, pools={Component.HANDLER: PoolLook(workers=1, busy=0)}), CauseKind.ABOUT_TO_START),
    ],
)
def test_what_its_node_is_doing_is_told(node: Node, look: Look, kind: CauseKind) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "approval")

    assert explained(node, looks={NODE: look}).causes[0].kind is kind


def test_a_node_that_does_not_answer_is_told(node: Node) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "approval")

    assert "was not asked, or does not answer" in explained(node, looks={}).sentence


def test_no_quorum_comes_before_all_else(node: Node) -> None:
    enqueue(node, "approval")

    found = explained(node, no_quorum="1 of 3 nodes answers")

    assert [cause.kind for cause in found.causes] == [CauseKind.NO_QUORUM, CauseKind.SIGNAL]
    assert "its cluster has no quorum (1 of 3 nodes answers)" in found.sentence


def test_a_delay_tells_when_it_is_over(node: Node) -> None:
    enqueue(node, "approval", delay_ms=HOUR_MS)

    found = explained(node)

    assert found.causes[0].kind is CauseKind.DELAY
    assert found.next == "its first attempt is queued (in 1 h)"


# --- attempts


def test_code_that_runs_is_said_to_run(node: Node) -> None:
    enqueue(node, "slow")
    node.now_ms += 5_000

    found = explained(node)

    assert found.sentence == "slow order-1 runs its attempt 1 on node kit since 5 s"
    assert found.causes[0].kind is CauseKind.RUNNING


def test_a_side_effect_that_runs_is_named(node: Node) -> None:
    enqueue(node, "with_slow_side_effect")

    found = explained(node)

    assert found.causes[0].kind is CauseKind.RUNNING
    assert "side effect charge" in found.sentence


def test_a_backoff_tells_until_when_and_after_which_error(node: Node) -> None:
    retry = RetryPolicy(maximum_attempts=3, initial_interval_ms=60_000, jitter=0.0)
    enqueue(node, "broken", options=Options(retry=retry))
    node.now_ms += 20_000

    found = explained(node)

    assert found.sentence == (
        "broken order-1 waits before attempt 2 (in 40 s; 1 of 3 failed) after ValueError: no such order, since 20 s"
    )
    assert found.causes[0].kind is CauseKind.BACKOFF
    assert found.causes[0].failure is not None
    assert found.next == "the next attempt is made (in 40 s)"


def test_the_backoff_of_a_side_effect_is_told_with_its_error(node: Node) -> None:
    enqueue(node, "with_broken_side_effect")

    found = explained(node)

    assert found.causes[0].kind is CauseKind.BACKOFF
    assert found.causes[0].operation_id == "order-1/side_effect/charge"
    assert "attempt 2 of side effect 'charge'" in found.sentence
    assert "ConnectionError: refused" in found.sentence


def test_a_side_effect_that_waits_for_its_pool_is_told(node: Node) -> None:
    with a_node(workers=1) as node:
        enqueue(node, "with_slow_side_effect", "holder")
        enqueue(node, "with_slow_side_effect")

        found = explained(node)

        assert found.causes[0].kind is CauseKind.SIDE_EFFECT_SLOT
        assert found.causes[0].operation_id == "order-1/side_effect/charge"
        assert "holder" in found.causes[0].names


def test_a_cancel_that_the_code_does_not_see_is_told_since_when(node: Node) -> None:
    enqueue(node, "slow")
    node.cancel("order-1", "too late")
    node.settle()
    node.now_ms += 60_000

    found = explained(node)

    assert [cause.kind for cause in found.causes] == [CauseKind.CANCEL_REQUESTED, CauseKind.RUNNING]
    assert "was asked to stop (too late) and its code goes on" in found.sentence
    assert "since 1 min" in found.sentence
    assert any("terminate" in action for action in found.actions)


# --- what waits for an operator, and what has ended


def test_a_stuck_saga_tells_the_step_and_its_error(node: Node) -> None:
    options = Options(retry=ONCE.retry, compensation_retry=RetryPolicy(maximum_attempts=1))
    enqueue(node, "charging", options=options)
    assert node.execution("order-1").status is Status.STUCK
    node.now_ms += 60_000

    found = explained(node)

    assert found.sentence == (
        "charging order-1 is stuck: the compensation of step 'charge' is out of retries"
        " after ConnectionError: refused, since 1 min"
    )
    assert found.causes[0].kind is CauseKind.STUCK
    assert any("resolve_compensation" in action for action in found.actions)


def test_a_compensation_in_backoff_is_told(node: Node) -> None:
    retry = RetryPolicy(maximum_attempts=3, initial_interval_ms=60_000, jitter=0.0)
    enqueue(node, "charging", options=Options(retry=ONCE.retry, compensation_retry=retry))

    found = explained(node)

    assert found.causes[0].kind is CauseKind.BACKOFF
    assert "attempt 2 to undo step 'charge'" in found.sentence


def test_a_suspended_execution_tells_what_was_expected_and_found(node: Node) -> None:
    with a_node(parked_max=0) as node:
        changing[0] = "first"
        enqueue(node, "changed_code")
        changing[0] = "second"
        node.signal("order-1", "approved", None)
        node.settle()
        assert node.execution("order-1").status is Status.SUSPENDED
        node.now_ms += 60_000

        found = explained(node)

        assert found.causes[0].kind is CauseKind.SUSPENDED
        assert "first" in found.sentence
        assert "second" in found.sentence
        assert "since 1 min" in found.sentence
        assert any('client.resume("order-1")' in action for action in found.actions)


def test_one_that_has_ended_tells_how(node: Node) -> None:
    enqueue(node, "broken")
    node.now_ms += HOUR_MS

    found = explained(node)

    assert found.sentence == "broken order-1 has ended: failed with ValueError: no such order, since 1 h"
    assert found.causes[0].kind is CauseKind.ENDED
    assert found.actions == ()


# --- where its time went


def test_the_time_of_an_execution_is_told_by_its_records(node: Node) -> None:
    node.driver.dispatch.pools[Component.HANDLER].paused = True
    enqueue(node, "approval")
    node.now_ms += 2_000
    node.driver.dispatch.pools[Component.HANDLER].paused = False
    node.round()
    node.settle()
    node.now_ms += 5_000
    node.signal("order-1", "approved", None)
    node.settle()
    assert node.execution("order-1").status is Status.COMPLETED
    node.now_ms += HOUR_MS

    spent = explained(node).time_spent

    assert spent is not None
    assert (spent.queued, spent.waiting, spent.running, spent.backing_off) == (2_000, 5_000, 0, 0)


def test_the_time_between_attempts_is_backing_off(node: Node) -> None:
    retry = RetryPolicy(maximum_attempts=2, initial_interval_ms=60_000, jitter=0.0)
    enqueue(node, "broken", options=Options(retry=retry))
    node.advance_to(node.now_ms + 60_000)
    node.settle()
    assert node.execution("order-1").status is Status.FAILED

    spent = explained(node).time_spent

    assert spent is not None
    assert (spent.backing_off, spent.running) == (60_000, 0)
