"""What handlers can do to their worker host, and that it harms nobody else."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tempolite_sdk import (
    Client,
    ExecutionCompensated,
    ExecutionFailed,
    ExecutionStatus,
    ExecutionTerminated,
    ExecutionTimedOut,
    FailureInfo,
    RetryPolicy,
    RetryState,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, execution, until_status

ONCE = RetryPolicy(maximum_attempts=1)
AT_ONCE = RetryPolicy(maximum_attempts=2, initial_interval=0.001)


def host_pid(client: Client) -> int:
    (host,) = client.node_info().hosts
    return host.pid


@pytest.fixture(scope="module")
def crowded(shared_node: Start) -> Daemon:
    """One worker host for everyone."""
    harmless = ["compute", "listen", "listen_async", "quick", "hold_the_gil", "block_the_loop"]
    return shared_node(
        *(f"misbehaving:{name}" for name in harmless),
        "plain:loaded_modules",
        "plain:loaded_modules_async",
        {"target": "misbehaving:exit_at_once", "max_crashes": 3},
        {"target": "misbehaving:block_the_loop", "name": "block_the_loop_twice", "max_crashes": 2},
        {"target": "misbehaving:spawned", "isolation": "process"},
        hosts={"ping_interval": "100ms", "ping_timeout": "4s"},
        pools={"handler": {"workers": 8}, "side_effect": {"workers": 4}},
    )


@pytest.fixture
def client(crowded: Daemon) -> Iterator[Client]:
    with crowded.client() as client:
        yield client


# --- what they load


def test_a_node_serves_thousands_of_handlers(node: Start) -> None:
    many = [{"target": "misbehaving:quick", "name": f"quick-{number}"} for number in range(2_500)]

    with node(*many).client() as client:
        assert client.execute("quick-2499", 7) == client.execute("quick-0", 7)


@pytest.mark.parametrize("handler", ["loaded_modules", "loaded_modules_async"])
def test_a_host_that_runs_handlers_has_loaded_neither_grpc_nor_what_the_node_alone_needs(
    client: Client, handler: str
) -> None:
    loaded = client.execute(handler)

    packages = {name.partition(".")[0] for name in loaded}
    assert {"msgspec", "tempolite_sdk", "plain"} <= packages
    assert packages.isdisjoint({"grpc", "google", "apsw", "pydantic", "structlog", "rich", "ruamel", "cryptography"})
    assert not any(name.startswith("tempolite_sdk.client") for name in loaded)


# --- hosts that die


def test_a_killed_host_costs_no_work(crowded: Daemon, client: Client) -> None:
    with crowded.gate("killed") as gate:
        running = client.enqueue("compute", "killed")
        waiting = [client.enqueue("listen", "killed waiting"), client.enqueue("listen_async", "killed waiting")]
        crowded.until("killed runs")
        for each in waiting:
            until_status(client, each.id, ExecutionStatus.WAITING)
        os.kill(host_pid(client), signal.SIGKILL)
        crowded.until("killed runs", 2)
        gate.open()
    for each in waiting:
        each.send_signal("word", "heard")
    assert running.result(PATIENCE_S) == "killed in attempt 2"
    assert [each.result(PATIENCE_S) for each in waiting] == ["heard", "heard"]
    assert crowded.effects()["killed side effect"] == 1
    assert crowded.effects()["killed waiting side effect"] == 2
    # Whose code ran may have killed it; who waited is innocent.
    assert running.info().crashes == 1
    assert [each.info().crashes for each in waiting] == [0, 0]
    (ended,) = running.info().attempts
    assert ended.failure is not None
    assert ended.failure.type == "WorkerHostDied"
    assert "exited with signal 9" in ended.failure.message


@pytest.mark.parametrize("signal_number", [signal.SIGSTOP, signal.SIGSEGV])
def test_a_host_that_is_stopped_or_crashes_is_replaced(
    crowded: Daemon, client: Client, signal_number: signal.Signals
) -> None:
    name = signal_number.name
    with crowded.gate(name) as gate:
        running, waiting = client.enqueue("compute", name), client.enqueue("listen", name)
        crowded.until(f"{name} runs")
        until_status(client, waiting.id, ExecutionStatus.WAITING)
        before = host_pid(client)
        os.kill(before, signal_number)
        crowded.until(f"{name} runs", 2)
        gate.open()
    waiting.send_signal("word", "heard")
    assert running.result(PATIENCE_S) == f"{name} in attempt 2"
    assert waiting.result(PATIENCE_S) == "heard"
    assert client.enqueue("quick", 7).result(PATIENCE_S) == 7
    assert host_pid(client) != before


def test_a_handler_that_holds_the_gil_is_found_and_killed(crowded: Daemon, client: Client) -> None:
    waiting = client.enqueue("listen", "beside the holder of the GIL")
    until_status(client, waiting.id, ExecutionStatus.WAITING)
    holder = client.enqueue("hold_the_gil", "holder")
    assert holder.result(PATIENCE_S) == "let go"
    assert holder.info().crashes == 1
    waiting.send_signal("word", "heard")
    assert waiting.result(PATIENCE_S) == "heard"
    crowded.until_logged("does not answer and is killed")


def test_a_handler_that_kills_its_host_fails_in_the_end_and_others_go_on(crowded: Daemon, client: Client) -> None:
    with crowded.gate("beside") as gate:
        beside = [client.enqueue("compute", "beside"), client.enqueue("listen", "beside")]
        crowded.until("beside runs")
        until_status(client, beside[1].id, ExecutionStatus.WAITING)
        poisoned = client.enqueue("exit_at_once")
        with pytest.raises(ExecutionFailed, match="CrashedTooOften") as raised:
            poisoned.result(PATIENCE_S)
        gate.open()
    beside[1].send_signal("word", "heard")
    assert [each.result(PATIENCE_S) for each in beside] == ["beside in attempt 2", "heard"]
    assert raised.value.failure is not None
    assert raised.value.failure.cause is not None
    assert "exited with code 3" in raised.value.failure.cause.message
    info = poisoned.info()
    assert (info.crashes, len(info.attempts), info.retry_state) == (3, 3, RetryState.CRASHED_TOO_OFTEN)
    assert beside[0].info().crashes == 1, "disturbed once, by the first crash: then the suspects are apart"


def test_a_handler_that_blocks_the_loop_of_others_fails_in_the_end_and_they_go_on(
    crowded: Daemon, client: Client
) -> None:
    with crowded.gate("never opened"):
        waiting = client.enqueue("listen_async", "on the loop")
        until_status(client, waiting.id, ExecutionStatus.WAITING)
        blocker = client.enqueue("block_the_loop_twice")
        with pytest.raises(ExecutionFailed, match="CrashedTooOften"):
            blocker.result(PATIENCE_S)
        assert crowded.effects()["the loop is blocked"] == 2
    waiting.send_signal("word", "heard")
    assert waiting.result(PATIENCE_S) == "heard"


# --- a process of one's own


def test_a_host_that_has_run_long_enough_is_replaced_and_no_attempt_is_lost(node: Start) -> None:
    daemon = node("misbehaving:quick", hosts={"recycle_after": {"attempts": 20}}, pools={"handler": {"workers": 8}})
    with daemon.client() as client:
        first = client.node_info().hosts[0].number
        handles = client.enqueue_many("quick", [(number,) for number in range(60)])
        assert [handle.result(PATIENCE_S) for handle in handles] == list(range(60))
        daemon.until_logged("a worker host is replaced")
        assert client.node_info().hosts[0].number == first + 1
        assert client.execute("quick", 1) == 1
        assert {(info.attempt, info.crashes) for info in (handle.info() for handle in handles)} == {(1, 0)}


LEAKS = int(os.environ.get("TEMPOLITE_LEAKS", "300"))
LEAK_LIMIT = 128 * 1024**2 if LEAKS < 10_000 else 256 * 1024**2


class HostWatch:
    """Looks, all the time, at how many worker hosts there are and how much memory they hold."""

    def __init__(self, node: int) -> None:
        self.most_hosts = 0
        self.largest = 0  #: of one host, in bytes
        self.largest_sum = 0
        self._node = node
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            sizes = [resident(host) for keeper in children(self._node) for host in children(keeper)]
            self.most_hosts = max(self.most_hosts, len(sizes))
            self.largest = max([self.largest, *sizes])
            self.largest_sum = max(self.largest_sum, sum(sizes))


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


@pytest.mark.timeout(0)
def test_a_handler_that_leaks_runs_within_the_limit_and_one_host_more(node: Start) -> None:
    """TEMPOLITE_LEAKS=10000 for the long way: scripts/campaign leaks."""
    daemon = node(
        "misbehaving:leak", hosts={"recycle_after": {"memory": LEAK_LIMIT}}, pools={"handler": {"workers": 4}}
    )
    with daemon.client() as client, HostWatch(daemon.pid) as watch:
        handles = client.enqueue_many("leak", [(number,) for number in range(LEAKS)])
        assert [handle.result(PATIENCE_S) for handle in handles] == list(range(LEAKS))
        infos = [handle.info() for handle in handles]
        (host,) = client.node_info().hosts
    print(
        f"{LEAKS:,} attempts that leak 1 MiB each, limit {LEAK_LIMIT:,}: {host.starts} hosts, "
        f"{watch.most_hosts} at once; the largest held {watch.largest:,} bytes, all together {watch.largest_sum:,}"
    )

    assert {(info.attempt, info.crashes) for info in infos} == {(1, 0)}
    assert watch.most_hosts <= 2
    assert watch.largest < LEAK_LIMIT + 16 * 1024**2


def test_an_isolated_attempt_has_a_process_of_its_own(crowded: Daemon, client: Client) -> None:
    pids = {client.enqueue("spawned", "alone").result(PATIENCE_S) for _ in range(2)}
    assert len(pids) == 2
    assert pids.isdisjoint({crowded.pid, host_pid(client)})


@pytest.mark.parametrize("end", ["terminate", "attempt_timeout"])
def test_the_process_of_an_isolated_attempt_is_killed_with_it(crowded: Daemon, client: Client, end: str) -> None:
    name = f"isolated until {end}"
    with crowded.gate(name):
        # As often as it takes for one of its processes to start in time, on a machine that is busy.
        policy = RetryPolicy(maximum_attempts=0, initial_interval=0.001)
        timeout = 2 if end == "attempt_timeout" else None
        handle = client.options(retry=policy, attempt_timeout=timeout).enqueue("spawned", name)
        pid = pid_of(crowded, name)
        with suppress(ProcessLookupError):  # it is gone by now
            process = os.pidfd_open(pid)
            if end == "terminate":
                handle.terminate("enough")
            assert select.select([process], [], [], PATIENCE_S)[0], "its process is still there"
            os.close(process)
        handle.terminate()
        with pytest.raises(ExecutionTerminated):
            handle.result(PATIENCE_S)


def pid_of(crowded: Daemon, name: str) -> int:
    """Of the process that runs it."""
    prefix = f"{name} runs in "
    crowded.until_world(lambda: any(effect.startswith(prefix) for effect in crowded.effects()))
    return next(int(effect.removeprefix(prefix)) for effect in crowded.effects() if effect.startswith(prefix))


# --- strange ends


@pytest.fixture(scope="module")
def strange(shared_node: Start) -> Daemon:
    names = [
        "quick",
        "listen_async",
        "raise_it",
        "raise_it_async",
        "raise_it_in_a_side_effect",
        "exit_in_a_task",
        "return_it",
        "return_it_from_a_side_effect",
        "block",
        "leak_context",
        "use_in_a_thread",
        "use_in_a_thread_async",
        "keep_context",
        "use_kept_context",
        "use_keys_twice",
        "name_children_badly",
        "set_options_badly",
        "use_a_key_for_two_effects",
        "use_a_key_at_once",
        "use_step_keys_twice",
    ]
    return shared_node(*(f"misbehaving:{name}" for name in names))


@pytest.fixture
def asking(strange: Daemon) -> Iterator[Client]:
    with strange.client() as client:
        yield client
        assert client.enqueue("quick", 3).result(PATIENCE_S) == 3, "the next one is not disturbed"
        assert execution(client, client.enqueue("listen_async", "x").id).crashes == 0
        assert client.node_info().hosts[0].starts == 1, "it cost the worker host its life"


def failure_of(client: Client, handler: str, *args: object) -> FailureInfo:
    with pytest.raises(ExecutionFailed) as raised:
        client.options(retry=ONCE).enqueue(handler, *args).result(PATIENCE_S)
    assert raised.value.failure is not None
    return raised.value.failure


MESSAGES = {
    "SystemExit": "3",
    "KeyboardInterrupt": "",
    "GeneratorExit": "",
    "CancelledError": "",
    "BaseException": "bare",
    "StopIteration": "1",
    "Unprintable": "(its text could not be made: RuntimeError)",
    "Unspeakable": "(its text could not be made: KeyboardInterrupt)",
    "ValueError": "a file named \\udcff",
    "RetryAfter": "retry after inf s",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_whatever_a_handler_raises_is_recorded(asking: Client, name: str) -> None:
    failure = failure_of(asking, "raise_it", name)
    assert (failure.type, failure.message) == (name, MESSAGES[name])
    assert "raise_it" in failure.traceback


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"CancelledError", "GeneratorExit"}))
def test_whatever_a_side_effect_raises_is_recorded(asking: Client, name: str) -> None:
    failure = failure_of(asking, "raise_it_in_a_side_effect", name)
    assert failure.type == "SideEffectFailed"
    assert failure.cause is not None
    assert (failure.cause.type, failure.cause.message) == (name, MESSAGES[name])


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"StopIteration"}))
def test_whatever_an_asynchronous_handler_raises_is_recorded(asking: Client, name: str) -> None:
    failure = failure_of(asking, "raise_it_async", name)
    assert (failure.type, failure.message) == (name, MESSAGES[name])


def test_an_error_whose_own_fields_are_missing_is_recorded(asking: Client) -> None:
    assert failure_of(asking, "raise_it", "Shapeless").type == "Shapeless"


def test_an_exit_in_a_task_of_an_asynchronous_handler_ends_nobody_else(asking: Client) -> None:
    beside = asking.enqueue("listen_async", "beside an exit")
    until_status(asking, beside.id, ExecutionStatus.WAITING)
    assert failure_of(asking, "exit_in_a_task").type == "SystemExit"
    beside.send_signal("word", "heard")
    assert beside.result(PATIENCE_S) == "heard"


RESULTS = {
    "object": "has no JSON form",
    "set of objects": "has no JSON form",
    "surrogate": "surrogates not allowed",
    "text": "Expected `int`, got `str`",
    "deep": "nested too deep",
    "large": "at most 2,097,152 are allowed",
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_is_not_what_its_annotation_says_fails_without_a_retry(asking: Client, name: str) -> None:
    handle = asking.enqueue("return_it", name)
    with pytest.raises(ExecutionFailed) as raised:
        handle.result(PATIENCE_S)
    assert raised.value.failure is not None
    assert raised.value.failure.type == "InvalidResult"
    assert RESULTS[name].lower() in raised.value.failure.message.lower()
    info = handle.info()
    assert (info.attempt, info.retry_state) == (1, RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize("name", sorted(RESULTS.keys() - {"deep"}))
def test_nor_does_a_side_effect_run_again_for_it(asking: Client, name: str) -> None:
    failure = failure_of(asking, "return_it_from_a_side_effect", name)
    assert failure.cause is not None
    assert failure.cause.type == "InvalidArgument"
    assert "after 1 attempts" in failure.message


def test_a_handler_that_blocks_for_ever_times_out_and_its_worker_is_free(strange: Daemon, asking: Client) -> None:
    with strange.gate("forever.1") as first, strange.gate("forever.2") as second:
        handle = asking.options(attempt_timeout=1, retry=AT_ONCE).enqueue("block", "forever")
        strange.until("forever blocks")
        assert asking.enqueue("quick", 5).result(PATIENCE_S) == 5, "the only worker of the pool"
        assert strange.effects()["forever blocks"] == 1, "the next attempt does not begin beside it"
        first.open()
        strange.until("forever goes on")
        strange.until("forever blocks", 2)
        with pytest.raises(ExecutionTimedOut, match="AttemptTimeout"):
            handle.result(PATIENCE_S)
        assert handle.info().attempt == 2
        second.open()
        strange.until("forever goes on", 2)
    assert asking.enqueue("quick", 6).result(PATIENCE_S) == 6
    assert handle.info().status is ExecutionStatus.TIMED_OUT, "a late result is refused"


# --- contexts and keys


def test_a_context_is_of_no_use_after_its_call(asking: Client) -> None:
    inner, outer = asking.enqueue("leak_context").result(PATIENCE_S)
    assert "after its call had ended" in inner
    assert outer == "it worked"
    asking.enqueue("keep_context").result(PATIENCE_S)
    assert "after its call had ended" in asking.enqueue("use_kept_context").result(PATIENCE_S)


@pytest.mark.parametrize("handler", ["use_in_a_thread", "use_in_a_thread_async"])
def test_a_context_is_of_no_use_in_another_thread(asking: Client, handler: str) -> None:
    (told,) = asking.enqueue(handler).result(PATIENCE_S)
    assert "another thread" in told


def test_a_key_names_one_operation_of_its_kind(asking: Client) -> None:
    *twice, unprintable = asking.enqueue("use_keys_twice").result(PATIENCE_S)
    assert all("'same' is used for two operations" in told for told in twice)
    assert "a key is" in unprintable


def test_a_child_has_an_id_that_clients_can_name(asking: Client) -> None:
    told = asking.enqueue("name_children_badly").result(PATIENCE_S)
    assert len(told) == 5
    assert all("id must be 1 to 200 letters, digits" in each for each in told)


def test_an_option_of_a_child_that_can_not_be_is_named_where_it_is_given(asking: Client) -> None:
    told = asking.enqueue("set_options_badly").result(PATIENCE_S)
    assert told[:2] == [
        "TypeError: unexpected keyword arguments: prio",
        "InvalidArgument: options: close_policy must be one of 'abandon', 'request_cancel', 'terminate', not 'kill'",
    ]
    assert ["priority" in told[2], "delay" in told[3], "concurrency_key" in told[4]] == [True] * 3, told
    assert len(told) == 5


def test_a_step_key_names_one_step(asking: Client) -> None:
    with pytest.raises(ExecutionCompensated, match="'same' is used for two operations"):
        asking.enqueue("use_step_keys_twice").result(PATIENCE_S)


def test_a_side_effect_under_a_known_key_is_the_same_side_effect_or_refused(asking: Client) -> None:
    assert asking.enqueue("use_a_key_for_two_effects").result(PATIENCE_S) == [1, 1]


def test_two_side_effects_at_once_under_one_key_are_refused(strange: Daemon, asking: Client) -> None:
    """The only worker of the side-effect pool is free again afterwards."""
    first, second, third = asking.enqueue("use_a_key_at_once").result(PATIENCE_S)
    assert first == "1"
    assert "'same' is under way" in second
    assert third == 1
    assert strange.effects()["effect under one key"] == 2


# --- stacks that are given up


@pytest.fixture(scope="module")
def unwinding(shared_node: Start) -> Daemon:
    """Every wait gives up its stack at once."""
    names = ["swallow", "swallow_async", "return_from_finally"]
    return shared_node(*(f"misbehaving:{name}" for name in names), hosts={"max_parked": 0})


@pytest.mark.parametrize("handler", ["swallow", "swallow_async"])
def test_a_handler_may_swallow_the_unwinding_and_it_changes_nothing(unwinding: Daemon, handler: str) -> None:
    before = unwinding.effects()
    with unwinding.client() as client:
        handle = client.enqueue(handler)
        unwinding.until("swallowed again", before["swallowed again"] + 1)
        assert not handle.info().is_closed
        handle.send_signal("word", "heard")
        assert handle.result(PATIENCE_S) == "heard"
    assert unwinding.effects()["a side effect of a stack that was given up"] == 0


def test_a_handler_may_return_from_finally_while_it_is_unwound_and_it_changes_nothing(unwinding: Daemon) -> None:
    with unwinding.client() as client:
        handle = client.enqueue("return_from_finally")
        unwinding.until("returned from finally")
        handle.send_signal("word", "heard")
        assert handle.result(PATIENCE_S) == "heard"
