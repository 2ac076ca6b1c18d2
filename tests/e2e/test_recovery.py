"""The node dies, stops, can't start, can't write: nothing that was acknowledged is lost, and work goes on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tempolite_sdk import (
    Client,
    ExecutionHandle,
    ExecutionStatus,
    RetryPolicy,
    TempoliteError,
)

from .conftest import Start
from .daemon import HANDLERS as HANDLERS_PATH
from .daemon import PATIENCE_S, Daemon, execution, operation, until, until_recorded, until_status

NAMES = (
    "quick",
    "take_the_node_down",
    "add",
    "work",
    "work_async",
    "finish",
    "listen",
    "nap",
    "fail_once",
    "remember",
    "remember_async",
    "wait_for",
    "gather",
    "first_of",
    "gather_large",
    "measure",
    "square",
    "square_all",
    "square_all_async",
)
HANDLERS = [f"recovering:{name}" for name in NAMES]
KILLING = (sys.executable, "-m", "tests.e2e.killing_daemon")
CONFINED = (sys.executable, "-m", "tests.e2e.confined_daemon")


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    """With one worker in every pool."""
    return shared_node(*HANDLERS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


# --- SIGKILL


def test_a_request_whose_answer_was_lost_is_repeated_and_done_once(node: Start) -> None:
    """The commit is on disk, and the node dies before it tells anyone."""
    daemon = node(*HANDLERS)
    daemon.kill()
    daemon.start(*KILLING, KILL_AT="after:1")
    with daemon.client() as client, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(client.options(request_id="the-only-one").enqueue, "quick", 5)
        daemon.wait()
        daemon.start()
        handle = answer.result(PATIENCE_S)
        assert handle.result(PATIENCE_S) == 5
        assert client.options(request_id="the-only-one").enqueue("quick", 5).id == handle.id
        assert client.count() == 1
    assert daemon.effects()[f"{handle.id} ran"] == 1


def test_a_signal_whose_answer_was_lost_is_received_once(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        handle = client.enqueue("listen")
        until_status(client, handle.id, ExecutionStatus.WAITING)
        daemon.kill()
        daemon.start(*KILLING, KILL_AT="after:signal")
        with ThreadPoolExecutor(1) as sending:
            answer = sending.submit(handle.send_signal, "word", "once")
            daemon.wait()
            daemon.start()
            assert answer.result(PATIENCE_S) == 1
        assert handle.result(PATIENCE_S) == "once"
        assert handle.info().unconsumed_signals == 0


@pytest.mark.parametrize("commit", ["signal", "set_aside"])
def test_a_signal_that_can_not_be_read_is_set_aside_once_whenever_the_node_dies(node: Start, commit: str) -> None:
    """After the commit that takes it, or after the one that sets it aside."""
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        handle = client.enqueue("listen")
        until_status(client, handle.id, ExecutionStatus.WAITING)
        daemon.kill()
        daemon.start(*KILLING, KILL_AT=f"after:{commit}")
        with ThreadPoolExecutor(1) as sending:
            answer = sending.submit(handle.send_signal, "word", 5)
            daemon.wait()
            daemon.start()
            assert answer.result(PATIENCE_S) == 1
        until(client, lambda: [each.set_aside for each in handle.info().unconsumed] == ["Expected `str`, got `int`"])
        until_status(client, handle.id, ExecutionStatus.WAITING)
        handle.send_signal("word", "right")
        assert handle.result(PATIENCE_S) == "right"
        assert handle.info().unconsumed_signals == 1
    assert daemon.effects()[f"{handle.id} before"] == 1


def test_two_hundred_executions_in_flight_when_the_node_dies_end_right(node: Start) -> None:
    pools = {name: {"workers": 8} for name in ("handler", "saga", "side_effect")}
    daemon = node(*HANDLERS, pools=pools)
    with daemon.client() as client, ThreadPoolExecutor(8) as enqueuing:

        def enqueue(number: int) -> ExecutionHandle[Any]:
            return client.options(id=f"e{number}").enqueue("work" if number % 2 else "work_async", number)

        handles = list(enqueuing.map(enqueue, range(200)))
        daemon.until_world(lambda: sum(daemon.effects().values()) >= 100)
        daemon.kill()
        recorded, before = daemon.recorded(), daemon.effects()
        daemon.start()
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert results == [[number, number + 1, number] for number in range(200)]
    after = daemon.effects()
    assert len(recorded) > 20, "it was killed in the middle"
    assert {effect: after[effect] for effect in recorded} == {effect: before[effect] for effect in recorded}
    assert max(after.values()) <= 2, "what was under way may have run a second time, and no more"


def test_large_journals_and_many_large_starts_go_on_when_the_node_dies(node: Start) -> None:
    """None of it fits into what a host is sent at once, and nobody is blamed for it."""
    daemon = node(*HANDLERS, pools={"handler": {"workers": 30}})
    with daemon.client() as client:
        large = client.enqueue("gather_large", 40, 1_900_000)
        daemon.until("gathered")
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            texts = [("x" * 1_900_000,)] * 30
            measured = [handle.result(PATIENCE_S) for handle in client.enqueue_many("measure", texts)]
            daemon.until("gathered", 2)
            large = client.handle(large.id)
            large.send_signal("go")

            assert large.result(PATIENCE_S) == 40 * 1_900_000
            assert measured == [1_900_000] * 30
            assert large.info().crashes == 0


def test_who_takes_the_node_down_each_time_is_set_aside_until_an_operator_resumes_it(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        waiting = client.options(id="waiting").enqueue("listen")
        until_status(client, "waiting", ExecutionStatus.WAITING)
        with daemon.gate("killer"):
            client.options(id="killer").enqueue("take_the_node_down")
        daemon.wait()
        for _ in range(7):
            daemon.spawn()
            daemon.wait()
        daemon.start()

        killer = execution(client, "killer")
        assert killer.status is ExecutionStatus.SUSPENDED
        assert (killer.node_deaths, killer.crashes) == (8, 0)
        assert killer.failure is not None
        assert killer.failure.type == "NodeDiedTooOften"
        assert daemon.effects()["killer ran"] == 8
        daemon.until_logged("an execution was set aside: its node died")
        waiting.send_signal("word", "heard")
        assert waiting.result(PATIENCE_S) == "heard"

        daemon.stop()
        daemon.start()
        assert execution(client, "killer").status is ExecutionStatus.SUSPENDED, "a start does not resume it"
        with daemon.world.open("a") as world:
            world.write("enough\n")
        assert client.resume("killer") is not ExecutionStatus.SUSPENDED
        assert client.handle("killer").result(PATIENCE_S) == "up"


@pytest.mark.parametrize("handler", ["square_all", "square_all_async"])
def test_a_map_over_many_items_begins_once_and_goes_on_after_a_crash(node: Start, handler: str) -> None:
    daemon = node(*HANDLERS, pools={"handler": {"workers": 8}})
    with daemon.client() as client:
        calm = client.enqueue(handler, 60).result(PATIENCE_S)
        begun = daemon.effects()["it begins"]
        interrupted = client.enqueue(handler, 120)
        daemon.until_world(lambda: len(daemon.effects()) > 120)
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            result = client.handle(interrupted.id).result(PATIENCE_S)

            assert client.count(handler="square") == 180
    assert calm == [number * number for number in range(60)]
    assert result == [number * number for number in range(120)]
    assert (begun, daemon.effects()["it begins"]) == (1, 3)


def test_moments_ids_and_dice_are_the_same_in_each_life(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        handles = [client.enqueue(handler) for handler in ("remember", "remember_async")]
        naps = [f"{handle.id}/timer/nap" for handle in handles]
        begun = [until_recorded(client, nap).start_time for nap in naps]
        daemon.kill()
        daemon.start()
        daemon.until_world(lambda: len(memories(daemon)) == 2)
        daemon.kill()
        daemon.start()
        for told in memories(daemon):
            daemon.until(told, 2)
        assert [operation(client, nap).start_time for nap in naps] == begun, "they slept once"
        for handle in handles:
            handle.send_signal("word")
            values = handle.result(PATIENCE_S)
            assert len(set(values)) == len(values), "each call has a value of its own"
    assert len(memories(daemon)) == 2


def memories(daemon: Daemon) -> list[str]:
    return [line for line in daemon.effects() if " remembers " in line]


# --- SIGTERM


def test_a_node_that_is_told_to_stop_lets_end_what_runs_and_keeps_what_waits(node: Start) -> None:
    daemon = node(*HANDLERS, pools={"handler": {"workers": 4}})
    with daemon.gate("running") as gate, daemon.client() as client:
        running = client.options(id="running").enqueue("finish")
        daemon.until("running runs")
        waiting = client.options(id="waiting").enqueue("listen")
        until_status(client, "waiting", ExecutionStatus.WAITING)
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        gate.open()
        assert daemon.wait() == 0
        assert daemon.effects()["running finished"] == 1
        assert not [line for line in daemon.log if line.get("level") in ("error", "critical", "warning")]
        daemon.start()
        assert running.result(PATIENCE_S) == "finished"
        assert running.info().attempt == 1
        waiting.send_signal("word", "heard")
        assert waiting.result(PATIENCE_S) == "heard"
        assert waiting.info().attempt == 1, "it was unwound, not interrupted"
    effects = daemon.effects()
    assert (effects["running finished"], effects["waiting before"], effects["waiting after"]) == (1, 1, 1)


def test_a_second_signal_stops_it_now(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.gate("running") as gate, daemon.client() as client:
        handle = client.options(id="running").enqueue("finish")
        daemon.until("running runs")
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        assert daemon.running
        daemon.signal(signal.SIGINT)
        assert daemon.wait() == 0
        daemon.until_logged("stopping with attempts under way")
        gate.open()
        daemon.start()
        assert handle.result(PATIENCE_S) == "finished"
        assert handle.info().crashes == 0
    assert daemon.effects()["running runs"] == 2


# --- starts that fail


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Daemon]:
    """To be spawned by the test. Not to come up."""
    home = tmp_path / "refused"
    home.mkdir()
    daemon = Daemon(home, {"handlers": [{"target": "recovering:quick"}]})
    yield daemon
    daemon.close()


def why_it_ended(daemon: Daemon, *command: str, **environment: str) -> str:
    """What it says when it ends with 1, without a traceback."""
    daemon.spawn(*command, **environment)
    assert daemon.wait() == 1
    told = "\n".join(str(line["event"]) for line in daemon.log)
    assert "Traceback" not in told
    return told


def test_a_data_directory_serves_one_daemon(node: Start, refused: Daemon) -> None:
    daemon = node(*HANDLERS)
    data = daemon.directory / "data"
    refused.configure(node={"id": "n1", "data_dir": str(data)})
    assert f"{data}: another daemon uses this data directory" in why_it_ended(refused)
    with daemon.client() as client:
        assert client.enqueue("quick", 2).result(PATIENCE_S) == 2, "the first one is not disturbed"


def test_a_data_directory_belongs_to_one_node(node: Start, refused: Daemon) -> None:
    daemon = node(*HANDLERS)
    daemon.kill()
    refused.configure(node={"id": "n2", "data_dir": str(daemon.directory / "data")})
    assert "the store belongs to node 'n1', not to 'n2'" in why_it_ended(refused)


def test_a_port_that_is_taken_is_refused(refused: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused.configure(api={"listen": address})
        assert f"can't listen on {address}: is it taken?" in why_it_ended(refused)


NO_HANDLERS = {
    "nowhere:handler": "nowhere can't be imported: ModuleNotFoundError",
    "broken_on_import:handler": "RuntimeError: no database configured",
    "recovering:nothing": "has no nothing",
    "misannotated:NUMBER": "is a int, not a function",
    "misannotated:without_context": "it must be one of HandlerContext",
    "misannotated:with_the_wrong_context": "take an AsyncHandlerContext",
    "misannotated:with_the_other_wrong_context": "take a HandlerContext",
}


def test_every_handler_that_cannot_be_served_is_told(refused: Daemon) -> None:
    refused.configure(handlers=[{"target": target, "name": f"h{n}"} for n, target in enumerate(NO_HANDLERS)])
    told = why_it_ended(refused)
    for number, message in enumerate(NO_HANDLERS.values()):
        (line,) = (line for line in told.splitlines() if f"handlers[{number}].target: " in line)
        assert line.startswith(f"{refused.config_file}:1:")
        assert message in line


def test_a_data_directory_that_cannot_be_made_is_told(refused: Daemon) -> None:
    forbidden = refused.directory / "forbidden"
    forbidden.mkdir(mode=0o500)
    refused.configure(node={"id": "n1", "data_dir": str(forbidden / "data")})
    assert "the data directory can't be used: Permission denied" in why_it_ended(
        refused, *CONFINED, CONFINED="by permissions"
    )
    refused.configure(node={"id": "n1", "data_dir": str(refused.config_file)})
    assert "the data directory can't be used: File exists" in why_it_ended(refused)


def test_a_store_that_cannot_be_written_is_told(node: Start) -> None:
    daemon = node(*HANDLERS)
    daemon.stop()
    store = daemon.directory / "data" / "store.db"
    store.chmod(0o400)
    daemon.log.clear()
    told = why_it_ended(daemon, *CONFINED, CONFINED="by permissions")
    assert str(store) in told
    assert "the store can only be read, and must be written" in told
    store.chmod(0o600)
    daemon.start()


def test_what_is_no_store_is_told(node: Start) -> None:
    daemon = node(*HANDLERS)
    daemon.kill()
    store = daemon.directory / "data" / "store.db"
    for left in store.parent.glob("store.db*"):
        left.unlink()
    store.write_bytes(b"this is no database, but it is long enough to be taken for one " * 100)
    daemon.log.clear()
    assert "file is not a database" in why_it_ended(daemon)


# --- disks that are full


@contextmanager
def small_disk(mount_point: Path) -> Iterator[None]:
    """A file system of 6 MiB, where that is permitted."""
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(mount_point)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


def fill(daemon: Daemon) -> list[str]:
    """Enqueues until the disk is full and the node has stopped. Returns the ids that were acknowledged."""
    acknowledged = []
    with daemon.client(timeout=2) as client, pytest.raises(TempoliteError):  # noqa: PT012
        for number in range(1_000):
            id = f"e{number}"
            client.options(id=id, delay=3_600).enqueue("wait_for", ["x" * 100_000])
            acknowledged.append(id)
    assert daemon.wait() == 1
    line = daemon.until_logged("the node stops: its driver failed")
    assert line["level"] == "critical"
    assert "the store failed" in line["error"]
    return acknowledged


def go_on_with_space(daemon: Daemon, acknowledged: list[str]) -> None:
    with daemon.client() as client:
        assert {each.id for each in client.list()} >= set(acknowledged)
        assert client.enqueue("quick", 8).result(PATIENCE_S) == 8


def test_a_file_that_may_grow_no_more_stops_the_node_and_loses_nothing(node: Start) -> None:
    daemon = node(*HANDLERS)
    daemon.stop()
    daemon.spawn(*CONFINED, CONFINED="in size").wait(PATIENCE_S)
    acknowledged = fill(daemon)
    assert acknowledged
    daemon.start()
    go_on_with_space(daemon, acknowledged)


def test_a_full_disk_stops_the_node_and_loses_nothing(refused: Daemon) -> None:
    disk = refused.directory / "disk"
    with small_disk(disk):
        refused.configure(
            node={"id": "n1", "data_dir": str(disk / "data")}, handlers=[{"target": target} for target in HANDLERS]
        )
        refused.start()
        acknowledged = fill(refused)
        assert acknowledged
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        refused.start()
        go_on_with_space(refused, acknowledged)
        refused.kill()


# --- stacks that are given up


@pytest.mark.parametrize(
    ("hosts", "kept"), [({"max_parked": 5}, 5), ({"park_ttl": "1s"}, 0)], ids=["max_parked", "park_ttl"]
)
def test_who_waits_beyond_the_limits_is_unwound_and_replayed(node: Start, hosts: dict[str, Any], kept: int) -> None:
    daemon = node(*HANDLERS, hosts=hosts, pools={"handler": {"workers": 4}})
    with daemon.client() as client:
        handles = [client.enqueue("listen") for _ in range(20)]
        until(client, lambda: all(each.info().status is ExecutionStatus.WAITING for each in handles))
        until(client, lambda: client.node_info().hosts[0].attempts == kept)
        for number, handle in enumerate(handles):
            handle.send_signal("word", f"word {number}")
        assert [each.result(PATIENCE_S) for each in handles] == [f"word {number}" for number in range(20)]
        assert {each.info().attempt for each in handles} == {1}
    effects = daemon.effects()
    assert all(effects[f"{each.id} {when}"] == 1 for each in handles for when in ("before", "after"))


# --- code and config that change

CODE = """
from dataclasses import dataclass
from tempolite_sdk import *

@dataclass
class Step(SagaStep):
    text: str
    def transaction(self, ctx: TransactionContext) -> None: ...
    def compensation(self, ctx: CompensationContext) -> None: ...

@dataclass
class Effect(SideEffect[str]):
    text: str
    def run(self, ctx: SideEffectContext) -> str:
        return self.text

def child(ctx: HandlerContext, text: str) -> str:
    return text

def number() -> int:
    return 1

def letter() -> str:
    return "a"
"""
CHANGING = """
def {name}(ctx: SagaContext{parameter}) -> str:
    {operation}
    return ctx.receive_signal("word", str)
"""
#: An operation, what it is changed to, and what is told of it.
CHANGES = {
    "enqueue": ("ctx.enqueue(child, 'one')", "ctx.enqueue(child, 'two')", """child with {"text":"one"} (execution """),
    "step": (
        "ctx.step(Step('one'))",
        "ctx.step(Step('two'))",
        """changes:Step with {"text":"one"}, replay asks for changes:Step with {"text":"two"}""",
    ),
    "side_effect": (
        "ctx.side_effect('key', Effect('one'))",
        "ctx.side_effect('key', Effect('two'))",
        """Effect with {"text":"two"}""",
    ),
    "signal_sent": (
        "ctx.send_signal('told', 'one')",
        "ctx.send_signal('told', 'two')",
        """recorded was signal told with "one", replay asks for signal told with "two\"""",
    ),
    "cancel": (
        "ctx.cancel(ctx.options(id='stopped').enqueue(child, 'x'), 'one', key='cancel')",
        "ctx.cancel(ctx.options(id='stopped').enqueue(child, 'x'), 'two', key='cancel')",
        "recorded was stopped, replay asks for a cancel of stopped with another reason",
    ),
    "wait": (
        "ctx.wait_for_completion(ctx.options(id='one').enqueue(child, 'x'), key='wait')",
        "ctx.wait_for_completion('other', key='wait')",
        "recorded was a wait for one, replay asks for a wait for other",
    ),
    "signal": (
        "ctx.receive_signal('first', key='it')",
        "ctx.receive_signal('second', key='it')",
        "recorded was signal first, replay asks for signal second",
    ),
    "result_type": (
        "ctx.side_effect('key', number)",
        "ctx.side_effect('key', letter)",
        "side_effect key: recorded was 1, the code has a type that it is not: Expected `str`, got `int`",
    ),
    "child_type": (
        "ctx.wait_for_completion(ctx.enqueue(child, 'x'), str)",
        "ctx.wait_for_completion(ctx.enqueue(child, 'x'), int)",
        """recorded was "x", the code has a type that it is not: Expected `int`, got `str`""",
    ),
    "signal_type": (
        "ctx.receive_signal('first', str)",
        "ctx.receive_signal('first', int)",
        """signal first#1: recorded was "read", the code has a type that it is not: Expected `int`, got `str`""",
    ),
    "renamed_parameter": ("None", "pass", """arguments: recorded was {"amount":7}, the code has """),
    "new_parameter": ("None", "pass", """arguments: recorded was {"amount":7}, the code has """),
    "removed_parameter": ("None", "pass", """arguments: recorded was {"amount":7}, the code has """),
}
#: Parameters of handlers in both versions; they are called with those of the first.
PARAMETERS = {
    "renamed_parameter": (", amount: int", ", total: int"),
    "new_parameter": (", amount: int", ", amount: int, currency: str"),
    "removed_parameter": (", amount: int", ""),
}


def write_code(module: Path, version: int) -> None:
    handlers = [
        CHANGING.format(name=name, operation=change[version], parameter=PARAMETERS.get(name, ("", ""))[version])
        for name, change in CHANGES.items()
    ]
    module.write_text(CODE + "".join(handlers))


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    """The module, in its first version."""
    module = tmp_path / "changes.py"
    write_code(module, 0)
    return module


def start_changing(node: Start, changes: Path) -> Daemon:
    targets = [f"changes:{name}" for name in ("child", *CHANGES)]
    return node(*targets, hosts={"python_path": [str(HANDLERS_PATH), str(changes.parent)]})


def test_changed_code_suspends_executions_until_it_is_put_right(node: Start, changes: Path) -> None:
    daemon = start_changing(node, changes)
    with daemon.client() as client:
        handles = {name: client.enqueue(name, **({"amount": 7} if name in PARAMETERS else {})) for name in CHANGES}
        handles["signal"].send_signal("first")
        handles["signal_type"].send_signal("first", "read")
        for handle in handles.values():
            until(client, lambda handle=handle: f"{handle.id}/signal/word#1" in handle.info().waiting_for)
        daemon.kill()
        write_code(changes, 1)
        daemon.start()
        for name, handle in handles.items():
            info = until_status(client, handle.id, ExecutionStatus.SUSPENDED)
            assert info.failure is not None
            assert info.failure.type == "NonDeterminism"
            assert CHANGES[name][2] in info.failure.message
            assert info.retry_state is None
        daemon.stop()
        write_code(changes, 0)
        daemon.start()
        for handle in handles.values():
            handle.send_signal("word", "put right")
            assert handle.result(PATIENCE_S) == "put right"


READS = """
from tempolite_sdk import HandlerContext

def read(ctx: HandlerContext) -> str:
    ctx.receive_signal("first", {type})
    return ctx.receive_signal("word", str)
"""


def test_a_signal_that_earlier_code_has_read_and_gone_on_from_is_not_set_aside(node: Start, tmp_path: Path) -> None:
    module = tmp_path / "reads.py"
    module.write_text(READS.format(type="int"))
    daemon = node("reads:read", hosts={"python_path": [str(tmp_path)]})
    with daemon.client() as client:
        handle = client.options(retry=RetryPolicy(maximum_attempts=1)).enqueue("read")
        handle.send_signal("first", 5)
        until(client, lambda: f"{handle.id}/signal/word#1" in handle.info().waiting_for)
        daemon.kill()
        module.write_text(READS.format(type="str"))
        daemon.start()
        info = until_status(client, handle.id, ExecutionStatus.SUSPENDED)
        assert info.failure is not None
        assert "recorded was 5, the code has a type that it is not: Expected `str`" in info.failure.message
        assert handle.info().unconsumed_signals == 0


def test_a_suspended_execution_can_be_stopped(node: Start, changes: Path) -> None:
    """A cancelled saga undoes what it did, whatever became of its code."""
    daemon = start_changing(node, changes)
    with daemon.client() as client:
        handles = [client.enqueue("step") for _ in range(2)]
        for handle in handles:
            until_status(client, handle.id, ExecutionStatus.WAITING)
        daemon.kill()
        write_code(changes, 1)
        daemon.start()
        for handle in handles:
            until_status(client, handle.id, ExecutionStatus.SUSPENDED)
        handles[0].cancel()
        handles[1].terminate()
        until_status(client, handles[0].id, ExecutionStatus.COMPENSATED)
        until_status(client, handles[1].id, ExecutionStatus.TERMINATED)


def test_executions_of_a_handler_that_was_taken_away_wait_until_it_is_back(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        listening, napping = client.enqueue("listen"), client.enqueue("nap", 4)
        failing = client.options(retry=RetryPolicy(initial_interval=4, jitter=0)).enqueue("fail_once")
        for id in (listening.id, napping.id):
            until_status(client, id, ExecutionStatus.WAITING)
        until_status(client, failing.id, ExecutionStatus.SCHEDULED)
        daemon.stop()
        daemon.configure(handlers=[{"target": "recovering:quick"}])
        daemon.start()
        listening.send_signal("word", "heard")
        for id in (listening.id, napping.id, failing.id):
            until_status(client, id, ExecutionStatus.QUEUED)
        assert client.enqueue("quick", 5).result(PATIENCE_S) == 5, "others go on"
        assert {execution(client, id).attempt for id in (listening.id, napping.id, failing.id)} == {1}
        daemon.stop()
        daemon.configure(handlers=[{"target": target} for target in HANDLERS])
        daemon.start()
        assert listening.result(PATIENCE_S) == "heard"
        assert napping.result(PATIENCE_S) == "awake"
        assert failing.result(PATIENCE_S) == 2


# --- waits


def test_a_wait_may_have_a_timeout(client: Client) -> None:
    sleeper = client.enqueue("nap", 3_600)
    (told,) = client.enqueue("wait_for", [sleeper.id], 0.1).result(PATIENCE_S)
    assert told == f"WaitTimeout: execution {sleeper.id} has not ended after 0.1"
    assert sleeper.info().status is ExecutionStatus.WAITING, "it is not disturbed"
    sleeper.terminate("not needed")
    (told,) = client.enqueue("wait_for", [sleeper.id]).result(PATIENCE_S)
    assert told == f"ExecutionTerminated: execution {sleeper.id} was terminated: Terminated: not needed"


def test_a_wait_for_nobody_is_refused(client: Client) -> None:
    assert client.enqueue("wait_for", ["nobody"]).result(PATIENCE_S) == ["NotFound: no execution nobody"]


def test_a_wait_that_would_never_end_is_refused_and_named(client: Client) -> None:
    (told,) = client.options(id="alone").enqueue("wait_for", ["self"]).result(PATIENCE_S)
    assert told == "WaitCycle: the wait would never end: alone waits for alone"
    blocker = client.enqueue("listen")
    a = client.options(id="a").enqueue("wait_for", [blocker.id, "b"])
    c = client.options(id="c").enqueue("wait_for", [blocker.id, "a"])
    b = client.options(id="b").enqueue("wait_for", ["c"])
    for waiting in (a, b, c):
        until_status(client, waiting.id, ExecutionStatus.WAITING)
    blocker.send_signal("word", "go")
    cycles = {
        "a": "a waits for b waits for c waits for a",
        "c": "c waits for a waits for b waits for c",
    }
    told = {"a": a.result(PATIENCE_S)[1], "c": c.result(PATIENCE_S)[1]}
    refused = [name for name in told if told[name].startswith("WaitCycle: ")]
    assert len(refused) == 1, "whoever would close it"
    assert told[refused[0]] == f"WaitCycle: the wait would never end: {cycles[refused[0]]}"
    assert "WaitCycle" in b.result(PATIENCE_S)[0]


def test_many_may_wait_for_one_and_one_may_wait_twice(client: Client) -> None:
    one = client.enqueue("listen")
    waiting = [client.enqueue("wait_for", [one.id, one.id]) for _ in range(3)]
    for each in waiting:
        until_status(client, each.id, ExecutionStatus.WAITING)
    one.send_signal("word", "done")
    assert [each.result(PATIENCE_S) for each in waiting] == [["done", "done"]] * 3


def test_children_and_side_effects_are_waited_for_at_once(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("gather", 30)
    assert handle.result(PATIENCE_S) == [*range(30), *range(30)]
    assert [daemon.effects()[f"{handle.id} effect {number}"] for number in range(30)] == [1] * 30


def test_who_waits_at_once_and_is_killed_goes_on_with_what_is_left(node: Start) -> None:
    daemon = node(*HANDLERS, hosts={"max_parked": 3})
    with daemon.client() as client:
        handles = [client.enqueue("gather", 20) for _ in range(3)]
        first = client.enqueue("first_of")
        daemon.until_world(lambda: sum(" effect " in line for line in daemon.effects()) >= 10)
        daemon.kill()
        recorded, before = daemon.recorded(), daemon.effects()
        daemon.start()
        assert [each.result(PATIENCE_S) for each in handles] == [[*range(20), *range(20)]] * 3
        first.send_signal("word", "one")
        first.send_signal("another word", "two")
        assert first.result(PATIENCE_S) == "two"
    after = daemon.effects()
    done = [id.replace("/side_effect/", " ") for id in recorded if "/side_effect/" in id]
    assert {effect: after[effect] for effect in done} == {effect: before[effect] for effect in done}
