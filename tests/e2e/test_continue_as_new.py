"""Runs that go on under one id: each has its keys, nothing is lost between them, and what they leave behind goes."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import apsw
import pytest

from tempolite_sdk import Client, ExecutionStatus

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, until

NAMES = (
    "months",
    "months_async",
    "pays",
    "collect",
    "collect_async",
    "misuse",
    "deposit",
    "cleans_up",
    "meets_cancel",
)
HANDLERS = [f"continuing:{name}" for name in NAMES]
KILLING = (sys.executable, "-m", "tests.e2e.killing_daemon")


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


@pytest.mark.parametrize("handler", ["months", "months_async"])
def test_each_run_has_its_own_idempotency_key_and_the_result_is_the_last_ones(
    daemon: Daemon, client: Client, handler: str
) -> None:
    id = f"rent-{handler}"

    assert client.options(id=id).enqueue(handler, 3).result(PATIENCE_S) == 3

    charged = {effect: count for effect, count in daemon.effects().items() if effect.startswith(id)}
    assert charged == {f"{id}/{place}side_effect/charge": 1 for place in ("", "2/", "3/")}
    runs = [each for each in client.list(handler=handler) if each.id.startswith(id)]
    assert [(each.run, each.status.value) for each in runs] == [
        (3, "completed"),
        (2, "continued_as_new"),
        (1, "continued_as_new"),
    ]
    assert client.handle(runs[-1].id).result(PATIENCE_S) == 3, "of an earlier run, that of the last one"
    assert client.get(f"{id}/3/side_effect/charge").id == f"{id}/3/side_effect/charge"


def test_execute_and_a_parent_wait_for_the_last_run(client: Client) -> None:
    assert client.execute("months", 3) == 3
    assert client.execute("pays", 3) == 3


@pytest.mark.parametrize("handler", ["collect", "collect_async"])
def test_every_signal_is_received_once_whatever_run_it_meets_and_what_runs_leave_behind_goes(
    client: Client, handler: str
) -> None:
    count, per_run = 300, 20
    handle = client.options(id=f"{handler}-all").enqueue(handler, count, per_run)
    for number in range(count):
        handle.send_signal("number", number)

    assert handle.result(PATIENCE_S) == [count, sum(range(count))]

    told = [signal.sequence for signal in handle.receive_signals("so far")]
    assert told == list(range(told[0], count // per_run)), "those of the last two runs at least, counted on"
    assert len(told) >= 1
    earlier = [each for each in client.list(status="continued_as_new") if each.id.startswith(handle.id)]
    assert len(earlier) == count // per_run - 1
    until(client, lambda: all(client.tree(each.id).operations == () for each in earlier))


def test_what_can_not_be_continued_is_told_and_goes_on(daemon: Daemon, client: Client) -> None:
    too_many, wrong, inside = client.execute("misuse", "word")

    assert "too many" in too_many or "positional" in too_many or "argument" in too_many
    assert "InvalidArgument" in wrong
    assert "ContextMisuse" in inside or "belongs to the handler itself" in inside
    told = client.execute("deposit", 5)
    assert told.startswith("FailedPrecondition")
    assert "Deposit#1" in told
    assert not any("withdraws" in effect for effect in daemon.effects())


def test_the_code_of_a_run_ends_where_it_is_continued_and_cleans_up(daemon: Daemon, client: Client) -> None:
    assert client.execute("cleans_up", True) == "done"

    assert daemon.effects()["cleaned up True"] == daemon.effects()["cleaned up False"] == 1
    assert daemon.effects()["AttemptOver"] == 1


def test_a_cancel_that_comes_before_the_hand_over_is_raised_in_its_place(daemon: Daemon, client: Client) -> None:
    with daemon.gate("met") as gate:
        handle = client.options(id="met").enqueue("meets_cancel")
        daemon.until("met run 1")
        handle.cancel("enough")
        gate.open()

        assert handle.result(PATIENCE_S) == "cancelled in run 1"


def test_a_terminate_meets_whichever_run_has_the_id(daemon: Daemon, client: Client) -> None:
    handle = client.options(id="endless").enqueue("meets_cancel")
    daemon.until("endless run 3")

    handle.terminate("enough")

    assert handle.info().status is ExecutionStatus.TERMINATED
    earlier = {each.status for each in client.list(handler="meets_cancel") if each.id.startswith("endless~")}
    assert earlier == {ExecutionStatus.CONTINUED_AS_NEW}


# --- for ever

SIGNALS = int(os.environ.get("TEMPOLITE_SIGNALS", "1000"))
PER_RUN = max(50, SIGNALS // 1_000)
BACKLOG = 5 * PER_RUN


def stored(daemon: Daemon) -> tuple[int, int]:
    """Rows that executions left, but for their own; and bytes of the pages that are in use."""
    connection = apsw.Connection(str(daemon.directory / "data" / "store.db"), apsw.SQLITE_OPEN_READONLY)
    rows = sum(connection.execute(f"SELECT count(*) FROM {name}").get for name in ("operations", "inbox", "outbox"))
    pages, free, size = (connection.pragma(name) for name in ("page_count", "freelist_count", "page_size"))
    connection.close()
    return rows, (pages - free) * size


def memory(pids: Iterable[int]) -> int:
    """Bytes that these processes hold."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096 for pid in pids)


@pytest.mark.timeout(0)
def test_a_loop_over_signals_keeps_the_store_and_memory_flat(node: Start) -> None:
    """TEMPOLITE_SIGNALS=1000000 for the long way: scripts/campaign signals."""
    daemon = node("continuing:collect")
    seen: list[tuple[int, int, int]] = []
    with daemon.client() as client, ThreadPoolExecutor(16) as senders:
        pids = [daemon.pid, *(host.pid for host in client.node_info().hosts)]
        handle = client.enqueue("collect", SIGNALS, PER_RUN)
        so_far = (signal.payload for signal in handle.receive_signals("so far", type=int))
        for start in range(0, SIGNALS, BACKLOG):
            numbers = range(start, min(start + BACKLOG, SIGNALS))
            list(senders.map(lambda number: handle.send_signal("number", number), numbers))
            while next(so_far) < numbers.stop - PER_RUN:
                pass
            seen.append((*stored(daemon), memory(pids)))
            if numbers.stop % (20 * BACKLOG) == 0:
                print(numbers.stop, "signals:", "{:,} rows, {:,} bytes stored, {:,} of memory".format(*seen[-1]))
        assert handle.result(PATIENCE_S) == [SIGNALS, sum(range(SIGNALS))]
        runs = handle.info().run
    early, late = seen[len(seen) // 4], seen[-1]
    print(f"{runs} runs; (rows, bytes stored, memory): first {seen[0]}, early {early}, last {late}")

    assert runs == SIGNALS // PER_RUN
    assert max(rows for rows, _, _ in seen) < 3 * (BACKLOG + PER_RUN), "what is stored of signals and operations"
    assert late[1] - early[1] < 2_000 * runs, "a run keeps its own row"
    if SIGNALS >= 100_000:  # a short one tells nothing of memory: caches fill
        assert late[2] - early[2] < 32 * 1024**2


# --- killed at every commit


def start_to_die(daemon: Daemon, moment: str, commit: int) -> None:
    daemon.start(*KILLING, KILL_AT=f"{moment}:{commit}", KILL_OF=f"rent-{commit}")


def pay(client: Client, id: str) -> int:
    paid: int = client.options(id=id).enqueue("months", 3).result(PATIENCE_S)
    return paid


def killed_at(daemon: Daemon, commit: int, *, next_moment: str) -> bool:
    """Whether the node died at a commit of that number; it is started so that it dies at the next one."""
    id = f"rent-{commit}"
    with daemon.client() as client, ThreadPoolExecutor(2) as others:
        paid, death = others.submit(pay, client, id), others.submit(daemon.wait)
        wait({paid, death}, return_when=FIRST_COMPLETED)
        died = death.done()
        if died:
            start_to_die(daemon, next_moment, commit + 1)
        assert paid.result(PATIENCE_S) == 3
        runs = [each.run for each in client.list(handler="months") if each.id.split("~")[0] == id]
        if not died:
            daemon.close()
    charged = Counter({key: count for key, count in daemon.effects().items() if key.startswith(f"{id}/")})
    assert charged.keys() == {f"{id}/{place}side_effect/charge" for place in ("", "2/", "3/")}
    assert charged.total() <= 4, "what was under way may have run a second time"
    assert runs == [3, 2, 1]
    return died


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(("before", "after"), id="before one, after the next"),
        pytest.param(("before", "before"), id="before each", marks=pytest.mark.sweep),
        pytest.param(("after", "after"), id="after each", marks=pytest.mark.sweep),
    ],
)
def test_killed_at_any_commit_no_month_is_charged_under_two_keys_or_left_out(
    node: Start, moments: tuple[str, str]
) -> None:
    daemon = node(*HANDLERS, pools={"handler": {"workers": 1}})
    daemon.kill()
    start_to_die(daemon, moments[0], 1)
    deaths = 0
    while killed_at(daemon, deaths + 1, next_moment=moments[(deaths + 1) % 2]):
        deaths += 1
    assert deaths >= 3, "a commit for each run at least"
