"""Retries, timeouts, and who comes when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tempolite_sdk import (
    Client,
    ExecutionFailed,
    ExecutionStatus,
    ExecutionTimedOut,
    OperationStatus,
    QueueFull,
    RetryPolicy,
    RetryState,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, operation, until, until_operation, until_status

NAMES = (
    "fail_until",
    "fail_with",
    "fail_politely",
    "quick",
    "flaky_side_effect",
    "child",
    "side_effect_with_child",
    "call_at_the_bottom",
    "leave_a_wait_behind",
    "give_up_a_side_effect",
    "hang",
    "hang_in_side_effect",
    "wait_long",
    "parent",
    "deadline",
    "wait_for_a_slow_child",
    "count_with_heartbeats",
    "wait_without_heartbeats",
    "take_turn",
    "take_turn_in_saga",
)
HANDLERS = [f"retrying:{name}" for name in NAMES]
AT_ONCE = RetryPolicy(maximum_attempts=3, initial_interval=0.001)
ONCE = RetryPolicy(maximum_attempts=1)
HOUR = RetryPolicy(initial_interval=3_600, maximum_interval=3_600)


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    """With one worker in every pool."""
    return shared_node(
        *HANDLERS,
        {"target": "retrying:fail_until", "name": "by_handler", "retry": {"maximum_attempts": 4}},
        {
            "target": "retrying:side_effect_by_config",
            "name": "side_effect_by_handler",
            "side_effect": {"retry": {"maximum_attempts": 5}},
            "retry": {"maximum_attempts": 1},
        },
        {"target": "retrying:side_effect_by_config", "name": "side_effect_by_pool", "retry": {"maximum_attempts": 1}},
        {
            "target": "retrying:hang_in_side_effect",
            "name": "timeout_by_handler",
            "side_effect": {"attempt_timeout": "1s"},
        },
        pools={
            "handler": {"retry": {"maximum_attempts": 2, "initial_interval": "1ms"}},
            "side_effect": {"retry": {"maximum_attempts": 4, "initial_interval": "1ms"}},
        },
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


# --- policies


@pytest.mark.parametrize(
    ("handler", "call", "attempts"),
    [("fail_until", None, 2), ("by_handler", None, 4), ("by_handler", RetryPolicy(maximum_attempts=3), 3)],
    ids=["pool", "handler", "call"],
)
def test_the_policy_is_the_calls_or_else_the_handlers_or_else_the_pools(
    client: Client, handler: str, call: RetryPolicy | None, attempts: int
) -> None:
    handle = client.options(retry=call).enqueue(handler, 100)
    with pytest.raises(ExecutionFailed, match=f"attempt {attempts}"):
        handle.result(PATIENCE_S)
    info = handle.info()
    assert (info.attempt, info.retry_state) == (attempts, RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert [each.number for each in info.attempts] == list(range(1, attempts + 1))


@pytest.mark.parametrize(("handler", "attempts"), [("side_effect_by_pool", 4), ("side_effect_by_handler", 5)])
def test_side_effects_have_a_policy_of_their_own(daemon: Daemon, client: Client, handler: str, attempts: int) -> None:
    handle = client.enqueue(handler)
    with pytest.raises(ExecutionFailed, match=f"after {attempts} attempts"):
        handle.result(PATIENCE_S)
    assert daemon.effects()[f"{handle.id} effect"] == attempts


def test_what_was_recorded_is_not_done_again_in_the_next_attempt(daemon: Daemon, client: Client) -> None:
    handle = client.options(retry=AT_ONCE).enqueue("fail_until", 3)
    assert handle.result(PATIENCE_S) == 42
    assert daemon.effects()[f"{handle.id} runs"] == 3
    assert daemon.effects()[f"{handle.id} paid"] == 1


@pytest.mark.parametrize("named", ["Declined", "Transient"])
def test_an_error_that_the_policy_names_is_not_retried_nor_one_derived_from_it(client: Client, named: str) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=0.001, non_retryable_errors=(named,))
    handle = client.options(retry=policy).enqueue("fail_with", "Declined")
    with pytest.raises(ExecutionFailed, match="Declined"):
        handle.result(PATIENCE_S)
    assert (handle.info().attempt, handle.info().retry_state) == (1, RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize(("error", "told"), [("NonRetryable", "never again"), ("Group", "several")])
def test_non_retryable_is_not_retried(client: Client, error: str, told: str) -> None:
    handle = client.options(retry=AT_ONCE).enqueue("fail_with", error)
    with pytest.raises(ExecutionFailed, match=told):
        handle.result(PATIENCE_S)
    assert (handle.info().attempt, handle.info().retry_state) == (1, RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize("inside", [False, True], ids=["in the handler", "in a side effect"])
def test_an_error_whose_own_fields_raise_ends_its_attempt_like_any_other(client: Client, inside: bool) -> None:
    handle = client.options(retry=AT_ONCE).enqueue("fail_with", "Unreadable", inside)
    with pytest.raises(ExecutionFailed, match="Unreadable"):
        handle.result(PATIENCE_S)


def test_retry_after_goes_before_the_backoff(client: Client) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=3_600, maximum_interval=3_600)
    assert client.options(retry=policy).enqueue("fail_politely").result(PATIENCE_S) == "done"


def test_a_backoff_holds_no_worker(client: Client) -> None:
    handle = client.options(retry=HOUR).enqueue("fail_until", 2)
    until_status(client, handle.id, ExecutionStatus.SCHEDULED)
    assert client.enqueue("quick", 7).result(PATIENCE_S) == 7
    handle.terminate()


def test_the_time_of_the_next_attempt_is_drawn_once(node: Start) -> None:
    daemon = node(*HANDLERS)
    policy = RetryPolicy(initial_interval=3_600, maximum_interval=3_600, jitter=1)
    with daemon.client() as client:
        handles = [client.options(retry=policy).enqueue("fail_until", 2) for _ in range(5)]
        before = [until_status(client, each.id, ExecutionStatus.SCHEDULED).next_attempt_time for each in handles]
        daemon.kill()
        daemon.start()
        assert [each.info().next_attempt_time for each in handles] == before
        ended = [each.info().attempts[0].end_time for each in handles]
    delays = {_minus(due, end) for due, end in zip(before, ended, strict=True)}
    assert len(delays) == 5, "they were not drawn"
    assert all(timedelta(0) <= delay <= timedelta(hours=2) for delay in delays)


def _minus(later: datetime | None, earlier: datetime | None) -> timedelta:
    assert later is not None
    assert earlier is not None
    return later - earlier


# --- side effects


def test_a_side_effect_is_retried_inside_its_attempt(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("flaky_side_effect", 2)
    assert handle.result(PATIENCE_S) == "after 3 attempts"
    assert handle.info().attempt == 1
    recorded = operation(client, f"{handle.id}/side_effect/flaky")
    assert (recorded.status, recorded.attempt) == (OperationStatus.COMPLETED, 3)
    assert [each.failure.message for each in recorded.attempts if each.failure] == ["attempt 1", "attempt 2"]
    assert daemon.effects()[recorded.id] == 3


def test_a_side_effect_out_of_retries_raises_and_the_handler_may_catch_it(client: Client) -> None:
    handle = client.enqueue("flaky_side_effect", 100)
    assert handle.result(PATIENCE_S) == "3 attempts: Transient: attempt 3"
    recorded = operation(client, f"{handle.id}/side_effect/flaky")
    assert recorded.status is OperationStatus.FAILED


def test_its_result_survives_the_retries_of_the_handler(daemon: Daemon, client: Client) -> None:
    handle = client.options(retry=AT_ONCE).enqueue("flaky_side_effect", failures=1, then_fail=True)
    assert handle.result(PATIENCE_S) == "after 2 attempts"
    assert handle.info().attempt == 3
    assert daemon.effects()[f"{handle.id}/side_effect/flaky"] == 2


def test_a_side_effect_whose_child_failed_makes_another(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("side_effect_with_child")
    completed = handle.result(PATIENCE_S)
    tree = handle.tree()
    statuses = {each.execution.id: each.execution.status for each in tree.children}
    assert sorted(statuses.values()) == [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.FAILED]
    assert statuses[completed] is ExecutionStatus.COMPLETED
    failed = [id for id, status in statuses.items() if status is ExecutionStatus.FAILED]
    assert [daemon.effects()[f"{handle.id} saw {id} fail"] for id in failed] == [1, 1]


@pytest.mark.parametrize(("again", "calls"), [(False, 4), (True, 4 * 2**2)], ids=["by default", "as the policy says"])
def test_retries_do_not_multiply_unless_the_policy_says_so(
    daemon: Daemon, client: Client, again: bool, calls: int
) -> None:
    handle = client.options(retry=AT_ONCE).enqueue("call_at_the_bottom", f"again-{again}", 2, again)
    with pytest.raises(ExecutionFailed):
        handle.result(PATIENCE_S)
    assert daemon.effects()[f"again-{again} call"] == calls
    assert (handle.info().attempt, handle.info().retry_state) == (1, RetryState.NON_RETRYABLE_FAILURE)


def test_with_a_side_effect_ends_what_it_waited_for(client: Client) -> None:
    handle = client.enqueue("leave_a_wait_behind")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    until_operation(client, f"{handle.id}/side_effect/waits", OperationStatus.FAILED)
    handle.send_signal("never mind")
    handle.send_signal("word", "heard")
    assert handle.result(PATIENCE_S) == ["AttemptTimeout", "heard", "had its slot"]
    assert handle.info().unconsumed_signals == 1, "nobody waited for it any more"


@pytest.mark.parametrize(("where", "effect"), [("code", "hangs"), ("queue", "hangs"), ("backoff", "fails")])
def test_a_cancelled_task_gives_back_the_slot_of_its_side_effect(
    daemon: Daemon, client: Client, where: str, effect: str
) -> None:
    handle = client.enqueue("give_up_a_side_effect", where)
    daemon.until(f"{handle.id} {effect}")
    handle.send_signal("give up")
    assert handle.result(PATIENCE_S) == ["had its slot"]
    assert daemon.effects()[f"{handle.id} given up"] == 2


# --- timeouts


def test_an_attempt_that_takes_too_long_is_given_up_and_the_next_one_made(daemon: Daemon, client: Client) -> None:
    with daemon.gate("slow") as gate:
        handle = client.options(id="slow", attempt_timeout=2, retry=AT_ONCE).enqueue("hang", succeeds_in=2)
        until(client, lambda: len(handle.info().attempts) == 1)
        gate.open()
        assert handle.result(PATIENCE_S) == "attempt 2"
        (first,) = handle.info().attempts
        assert first.failure is not None
        assert first.failure.type == "AttemptTimeout"


@pytest.mark.parametrize(("handler", "timeout"), [("hang_in_side_effect", [1]), ("timeout_by_handler", [])])
def test_a_side_effect_that_takes_too_long_is_given_up_and_made_again(
    daemon: Daemon, client: Client, handler: str, timeout: list[float]
) -> None:
    with daemon.gate(handler) as gate:
        handle = client.options(id=handler).enqueue(handler, *timeout)
        until_operation(client, f"{handle.id}/side_effect/hangs", OperationStatus.RETRYING)
        gate.open()
        assert handle.result(PATIENCE_S) == "attempt 2"
        assert handle.info().attempt == 1


@pytest.mark.parametrize("state", ["waiting", "running", "queued"])
def test_max_duration_counts_whatever_the_execution_does(daemon: Daemon, client: Client, state: str) -> None:
    options = client.options(id=f"{state}-too-long", max_duration=0.5)
    with daemon.gate(f"{state}-too-long"):
        if state == "queued":
            client.pause_pool("handler")
        handle = options.enqueue("wait_long" if state == "waiting" else "hang")
        with pytest.raises(ExecutionTimedOut, match="MaxDurationExceeded"):
            handle.result(PATIENCE_S)
        client.resume_pool("handler")
    assert handle.info().retry_state is RetryState.TIMEOUT
    assert client.enqueue("quick", 3).result(PATIENCE_S) == 3


def test_no_attempt_begins_that_max_duration_would_end(client: Client) -> None:
    handle = client.options(retry=HOUR, max_duration=60).enqueue("fail_until", 2)
    with pytest.raises(ExecutionFailed, match="attempt 1"):
        handle.result(PATIENCE_S)
    assert handle.info().retry_state is RetryState.TIMEOUT


def test_children_inherit_what_is_left_of_max_duration(client: Client) -> None:
    own, inherited, shorter, longer = client.options(max_duration=60).enqueue("parent").result(PATIENCE_S)
    assert own == inherited == longer
    assert shorter < own


def test_an_awaited_child_is_over_when_its_parent_is_out_of_time(client: Client) -> None:
    handle = client.options(id="out-of-time", max_duration=2).enqueue("wait_for_a_slow_child")
    with pytest.raises(ExecutionTimedOut):
        handle.result(PATIENCE_S)
    until_status(client, "out-of-time.child", ExecutionStatus.TIMED_OUT)


def test_queue_timeout_counts_until_the_first_attempt(daemon: Daemon, client: Client) -> None:
    with daemon.gate("in-time"):
        in_time = client.options(id="in-time", queue_timeout=60).enqueue("hang")
        daemon.until("in-time runs")
        late = client.options(queue_timeout=0.2).enqueue("quick")
        with pytest.raises(ExecutionTimedOut, match="QueueTimeout"):
            late.result(PATIENCE_S)
    assert late.info().attempt == 0
    assert in_time.result(PATIENCE_S) == "attempt 1"


def test_a_missing_heartbeat_ends_the_attempt_and_the_next_one_knows_how_far_it_was(
    daemon: Daemon, client: Client
) -> None:
    with daemon.gate("counting"):
        handle = client.options(id="counting", heartbeat_timeout=2, retry=AT_ONCE).enqueue("count_with_heartbeats")
        assert handle.result(PATIENCE_S) == [2, 5]
    info = handle.info()
    assert info.attempts[0].failure is not None
    assert info.attempts[0].failure.type == "HeartbeatTimeout"
    assert info.heartbeat_details is not None
    assert info.heartbeat_details.value(int) == 9


def test_who_waits_needs_no_heartbeat(client: Client) -> None:
    """Neither for a signal nor for the next attempt of a side effect."""
    handle = client.options(heartbeat_timeout=1.5, retry=ONCE).enqueue("wait_without_heartbeats")
    assert handle.result(PATIENCE_S) == "well"


# --- turns


def test_a_delayed_execution_waits_for_its_time(client: Client) -> None:
    scheduled = client.options(delay=3_600).enqueue("quick", 9)
    in_an_hour = scheduled.info()
    assert in_an_hour.status is ExecutionStatus.SCHEDULED
    assert _minus(in_an_hour.next_attempt_time, in_an_hour.create_time) == timedelta(hours=1)
    scheduled.terminate()
    handle = client.options(delay=0.5).enqueue("quick", 9)
    assert handle.result(PATIENCE_S) == 9
    done = handle.info()
    assert _minus(done.start_time, done.create_time) >= timedelta(seconds=0.5)


def test_the_higher_priority_comes_first_and_among_equals_the_earlier(daemon: Daemon, client: Client) -> None:
    client.pause_pool("handler")
    handles = [
        client.options(priority=priority).enqueue("take_turn", name)
        for name, priority in [("low", -5), ("first", 0), ("second", 0), ("high", 5), ("highest", 1_000)]
    ]
    assert [each.info().status for each in handles] == [ExecutionStatus.QUEUED] * 5
    client.resume_pool("handler")
    for handle in handles:
        handle.result(PATIENCE_S)
    names = ("low", "first", "second", "high", "highest")
    turns = [line for line in daemon.world.read_text().splitlines() if line in {f"turn of {name}" for name in names}]
    assert turns == [f"turn of {name}" for name in ("highest", "high", "first", "second", "low")]


def test_a_paused_pool_starts_nothing_and_goes_on_when_it_is_resumed(daemon: Daemon, client: Client) -> None:
    with daemon.gate("running") as gate:
        running = client.enqueue("take_turn", "running")
        daemon.until("turn of running")
        assert client.pause_pool("handler").paused
        queued = client.enqueue("take_turn", "queued")
        gate.open()
        assert running.result(PATIENCE_S) is None, "what runs goes on"
        client.wait(lambda stats: stats.handler.busy == 0, timeout=PATIENCE_S)
        assert queued.info().status is ExecutionStatus.QUEUED
        assert not client.resume_pool("handler").paused
        queued.result(PATIENCE_S)


def test_a_paused_pool_of_side_effects_holds_them_back(daemon: Daemon, client: Client) -> None:
    client.pause_pool("side_effect")
    handle = client.enqueue("take_turn", "held back")
    assert client.enqueue("quick", 4).result(PATIENCE_S) == 4, "the wait for a slot holds none"
    assert daemon.effects()["effect of held back"] == 0
    client.resume_pool("side_effect")
    handle.result(PATIENCE_S)
    assert daemon.effects()["effect of held back"] == 1


def test_a_pool_is_scaled_while_it_runs(daemon: Daemon, client: Client) -> None:
    names = [f"scaled {number}" for number in range(3)]
    with daemon.gate(names[0]), daemon.gate(names[1]), daemon.gate(names[2]):
        handles = [client.enqueue("take_turn", name) for name in names]
        daemon.until(f"turn of {names[0]}")
        assert client.pool("handler").queued == 2
        assert client.scale_pool("handler", 3).workers == 3
        for name in names:
            daemon.until(f"turn of {name}")
        assert client.scale_pool("handler", 1).busy == 3, "what runs goes on"
    for handle in handles:
        handle.result(PATIENCE_S)
    assert client.pool("handler").workers == 1


@pytest.fixture(scope="module")
def limited(shared_node: Start) -> Daemon:
    pools = {"handler": {"workers": 10, "rate_limit": 5}, "saga": {"queue_limit": 2}}
    return shared_node(*HANDLERS, pools=pools)


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(limited: Daemon) -> None:
    with limited.client() as client, limited.gate("first") as gate:
        handles = [client.enqueue("take_turn_in_saga", "first")]
        limited.until("turn of first")
        handles += [client.enqueue("take_turn_in_saga", name) for name in ("second", "third")]
        with pytest.raises(QueueFull, match="queue of pool saga is full"):
            client.enqueue("take_turn_in_saga", "fourth")
        gate.open()
        for handle in handles:
            handle.result(PATIENCE_S)
        client.enqueue("take_turn_in_saga", "fourth").result(PATIENCE_S)


def test_a_rate_limit_spreads_the_starts(limited: Daemon) -> None:
    """One second's worth at once, then one at a time."""
    with limited.client() as client:
        handles = [client.enqueue("quick", number) for number in range(10)]
        assert [handle.result(PATIENCE_S) for handle in handles] == list(range(10))
        starts = sorted(info.start_time for handle in handles if (info := handle.info()).start_time is not None)
    assert len(starts) == 10
    assert starts[9] - starts[0] >= timedelta(seconds=0.9)
