"""What handlers log: it tells whose it is, is silent in replay, and never waits for the node."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind, OperationStatus
from tempolite_node.logger.lines import Line, LineFormat
from tempolite_node.protocol import messages
from tempolite_node.worker_host.journal import Journal
from tempolite_node.worker_host.logs import AttemptScope, LogPipe, NodeLogHandler
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_node.worker_host.scopes import Scope

PATIENCE_S = 60.0


class Node:
    """The other end of the pipe."""

    def __init__(self) -> None:
        self._ours, self.descriptor = os.pipe()
        self._data = b""

    def until(self, event: str) -> list[dict[str, Any]]:
        """All lines up to one that has this in its event."""
        while not (self._data.endswith(b"\n") and event.encode() in self._data):
            data = os.read(self._ours, 65_536)
            assert data
            self._data += data
        return [json.loads(line) for line in self._data.splitlines()]

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.descriptor)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


@pytest.fixture
def log(node: Node) -> logging.Logger:
    """A logger of user code, of no hierarchy: pytest listens to that."""
    logger = logging.Logger("shop", logging.INFO)
    logger.addHandler(NodeLogHandler(LogPipe(node.descriptor, LineFormat.JSON)))
    return logger


CODE = RunningCode("order-1", 1, lambda _message: None)


def logged(node: Node, log: logging.Logger) -> list[dict[str, Any]]:
    """All that came, without the time."""
    contextvars.Context().run(log.warning, "enough")
    return [{k: v for k, v in line.items() if k != "timestamp"} for line in node.until("enough")[:-1]]


def events(node: Node, log: logging.Logger) -> list[str]:
    return [line["event"] for line in logged(node, log)]


def recorded(key: str, status: OperationStatus = OperationStatus.COMPLETED, **fields: Any) -> messages.Record:
    return messages.Record(kind=OperationKind.SIDE_EFFECT, key=key, status=status, **fields)


def attempt(*records: messages.Record, generation: int = 0, number: int = 2) -> tuple[AttemptScope, Journal]:
    run = messages.RunHandler(
        execution_id="e1", epoch=1, handler="pack", arguments=b"[]", attempt=number, generation=generation
    )
    journal = Journal(records, generation)
    return AttemptScope(run, journal, CODE), journal


def meet(journal: Journal, scope: Scope, key: str) -> None:
    journal.find(scope, OperationKind.SIDE_EFFECT, key)


def side_effect_in(scope: Scope, key: str) -> Scope:
    return scope.inner(OperationKind.SIDE_EFFECT, key, side_effect_attempt=1)


# --- whose it is


def test_a_line_tells_the_execution_the_handler_the_attempt_and_what_it_was_given(
    node: Node, log: logging.Logger
) -> None:
    scope, _ = attempt()
    with scope:
        log.info("packed %d", 3, extra={"sku": "x", "order": {"id": 7}})

    assert logged(node, log) == [
        {
            "level": "info",
            "logger": "shop",
            "event": "packed 3",
            "execution_id": "e1",
            "handler": "pack",
            "attempt": 2,
            "sku": "x",
            "order": {"id": 7},
        }
    ]


def test_what_is_logged_inside_an_operation_tells_of_its_attempt_and_outside_of_all_of_none(
    node: Node, log: logging.Logger
) -> None:
    scope, _ = attempt()
    with scope:
        with side_effect_in(scope, "charge"):
            log.info("in a side effect")
        log.info("after it")
    log.info("outside")

    lines = logged(node, log)
    assert [line.get("execution_id") for line in lines] == ["e1", "e1", None]
    assert "attempt" not in lines[-1]


def test_a_compensation_says_which(node: Node, log: logging.Logger) -> None:
    run = messages.RunCompensation(
        execution_id="e1", epoch=1, handler="pack", key="Pay#1", target="m:Pay", data=b"{}", attempt=3, generation=0
    )
    # The journal of the whole saga: replay of the compensation meets nothing of it.
    with AttemptScope(run, Journal([recorded("price"), recorded("stock")], 0), CODE):
        log.info("refunding")

    [line] = logged(node, log)
    assert (line["execution_id"], line["compensation"], line["attempt"]) == ("e1", "Pay#1", 3)


def test_tasks_and_threads_of_the_attempt_tell_of_it_too(node: Node, log: logging.Logger) -> None:
    async def handler() -> None:
        scope, _ = attempt()
        with scope:
            await asyncio.gather(*(asyncio.to_thread(log.info, "in a thread") for _ in range(2)))
            await asyncio.create_task(task())

    async def task() -> None:
        log.info("in a task")

    asyncio.run(handler())

    assert [line["execution_id"] for line in logged(node, log)] == ["e1", "e1", "e1"]


def test_a_field_named_like_an_id_is_kept_beside_it(node: Node, log: logging.Logger) -> None:
    scope, _ = attempt()
    with scope:
        log.info("retrying", extra={"attempt": 9, "execution_id": "e1"})

    [line] = logged(node, log)
    assert (line["attempt"], line["extra_attempt"], "extra_execution_id" in line) == (2, 9, False)


def test_an_error_comes_with_its_traceback(node: Node, log: logging.Logger) -> None:
    try:
        raise ValueError(7)
    except ValueError:
        log.exception("it failed")

    [line] = logged(node, log)
    assert line["exception"].endswith("ValueError: 7")


def test_arguments_that_do_not_fit_are_told_and_hurt_nobody(node: Node, log: logging.Logger) -> None:
    scope, _ = attempt()
    with scope:
        log.info("packed %d of %d", "three")

    [line] = logged(node, log)
    assert line["event"].startswith("a line that was logged can't be made: TypeError")
    assert (line["message"], line["execution_id"]) == ("packed %d of %d", "e1")
    assert "test_logs.py" in line["where"]


# --- silent in replay


def test_code_is_silent_until_it_has_come_where_it_was(node: Node, log: logging.Logger) -> None:
    scope, journal = attempt(recorded("price"), recorded("stock"))
    with scope:
        log.info("before all")
        meet(journal, scope, "price")
        log.info("before the last")
        meet(journal, scope, "stock")
        log.info("after the last")

    assert events(node, log) == ["after the last"]


def test_one_attempt_that_replays_silences_no_other(node: Node, log: logging.Logger) -> None:
    replaying, _ = attempt(recorded("price"))
    live, _ = attempt()

    def other() -> None:
        with live:
            log.info("of another attempt")

    with replaying:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE_S)
        log.info("again")

    assert events(node, log) == ["of another attempt"]


def test_a_side_effect_that_runs_speaks_while_the_code_around_it_replays(node: Node, log: logging.Logger) -> None:
    """It is no replay: what is recorded does not run."""
    scope, journal = attempt(recorded("price"), recorded("stock"))
    with scope:
        meet(journal, scope, "price")
        with side_effect_in(scope, "other"):
            log.info("in the side effect")
        log.info("around it")

    assert events(node, log) == ["in the side effect"]


def test_a_side_effect_that_is_replayed_inside_is_silent_until_it_goes_on(node: Node, log: logging.Logger) -> None:
    scope, journal = attempt(recorded("side_effect:pay > quote"))
    with scope:
        inner = side_effect_in(scope, "pay")
        with inner:
            log.info("before the quote")
            meet(journal, inner, "side_effect:pay > quote")
            log.info("after the quote")

    assert events(node, log) == ["after the quote"]


def test_code_that_does_something_new_speaks(node: Node, log: logging.Logger) -> None:
    scope, journal = attempt(recorded("price"), recorded("stock"))
    with scope:
        meet(journal, scope, "new in this version")
        log.info("it goes another way")

    assert events(node, log) == ["it goes another way"]


def test_code_speaks_after_an_operation_that_is_done_again(node: Node, log: logging.Logger) -> None:
    """It may end otherwise this time."""
    failed = recorded("price", OperationStatus.FAILED)
    scope, journal = attempt(failed, recorded("stock"), generation=1)
    with scope:
        log.info("before it")
        meet(journal, scope, "price")
        log.info("after it")

    assert events(node, log) == ["after it"]


def test_a_retry_that_goes_another_way_loses_nothing_of_what_it_says(node: Node, log: logging.Logger) -> None:
    scope, journal = attempt(recorded("price"), recorded("stock"), generation=1)
    with scope:
        log.info("said before")
        meet(journal, scope, "price")
        log.info("trying the other one")
        meet(journal, scope, "other")
        log.info("after it")

    assert events(node, log) == ["trying the other one", "after it"]


def test_a_retry_that_ends_before_it_came_where_it_was_has_gone_another_way(node: Node, log: logging.Logger) -> None:
    scope, journal = attempt(recorded("price"), generation=1)
    with scope:
        log.info("nothing to do any more")
    journal.say_held()

    assert events(node, log) == ["nothing to do any more"]


def test_a_retry_of_a_compensation_is_not_silent_either(node: Node, log: logging.Logger) -> None:
    run = messages.RunCompensation(
        execution_id="e1", epoch=1, handler="pack", key="Pay#1", target="", data=b"{}", attempt=2, generation=1
    )
    journal = Journal([recorded("compensation:Pay#1 > refund"), recorded("of the saga")], 1)
    scope = AttemptScope(run, journal, CODE)
    with scope:
        log.info("again")
        meet(journal, scope, "compensation:Pay#1 > by hand")

    assert events(node, log) == ["again"]


def test_a_stack_that_is_given_up_says_nothing(node: Node, log: logging.Logger) -> None:
    scope, _ = attempt()
    with scope:
        log.info("it waits")
        scope.unwinding = True
        log.info("cleaning up")
        with side_effect_in(scope, "pay"):
            log.info("in it as well")

    assert events(node, log) == ["it waits"]


def test_the_place_of_a_cancel_is_no_news_when_it_is_replayed(node: Node, log: logging.Logger) -> None:
    cancel = messages.Record(kind=OperationKind.MARKER, key="cancel@side_effect:ship", status=OperationStatus.COMPLETED)
    scope, journal = attempt(cancel, recorded("clean up"))
    with scope:
        meet(journal, scope, "ship")
        log.info("cancelled: cleaning up")
        meet(journal, scope, "clean up")
        log.info("clean")

    assert events(node, log) == ["clean"]


# --- the pipe


def line(event: str) -> Line:
    return Line(0.0, "info", "shop", event)


def test_a_node_that_does_not_read_holds_nobody_up_and_drops_are_counted(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON, backlog_bytes_max=50_000)
    count = 5_000
    for number in range(count):
        pipe.send(line(f"line {number} {'x' * 100}"))  # returns, although nobody reads
    pipe.send(line("the last word"))

    lines = node.until("the last word")

    dropped = sum(made.get("dropped", 0) for made in lines)
    assert dropped > 0
    assert len([made for made in lines if "dropped" not in made]) + dropped == count + 1
    assert lines[-1]["event"] == "the last word"


def test_nothing_is_dropped_of_what_there_is_room_for(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON)
    for number in range(3_000):  # more than the pipe takes
        pipe.send(line(f"line {number} {'x' * 100}"))
    pipe.send(line("the last word"))

    lines = node.until("the last word")

    assert [made["event"].split()[1] for made in lines[:-1]] == [str(number) for number in range(3_000)]


def test_a_flush_waits_until_all_has_left_and_no_longer_than_it_may(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON)
    pipe.flush(0.0)
    for number in range(3_000):
        pipe.send(line(f"line {number} {'x' * 100}"))
    pipe.flush(0.0)  # nobody reads

    reading = threading.Thread(target=lambda: node.until("line 2999"))
    reading.start()
    pipe.flush(PATIENCE_S)
    assert (pipe._unsent, len(pipe._backlog)) == (b"", 0)
    reading.join(PATIENCE_S)


def test_lines_of_many_threads_do_not_mix(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON)

    def send(thread: int) -> None:
        for number in range(200):
            pipe.send(line(f"{thread} {number} {'x' * 1_000}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    pipe.send(line("the last word"))

    sent = [made["event"].split()[:2] for made in node.until("the last word")[:-1]]
    for thread in range(4):
        assert [number for of, number in sent if of == str(thread)] == [str(number) for number in range(200)]


def test_a_node_that_is_gone_is_no_error(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON)
    os.close(node._ours)
    node._ours = os.open(os.devnull, os.O_RDONLY)

    pipe.send(line("to nobody"))


def test_a_process_that_user_code_forked_logs_too_and_repeats_nothing(node: Node) -> None:
    pipe = LogPipe(node.descriptor, LineFormat.JSON)
    for number in range(1_000):  # part of it has to wait, so a thread of this process sends it on
        pipe.send(line(f"line {number} {'x' * 100}"))
    child = os.fork()
    if child == 0:
        pipe.send(line("of the child"))
        while pipe._backlog or pipe._unsent:
            pass
        os._exit(0)

    lines = node.until("of the child")
    os.waitpid(child, 0)
    pipe.send(line("the last word"))
    lines = node.until("the last word")
    assert sorted(made["event"].split()[1] for made in lines if made["event"].startswith("line")) == sorted(
        map(str, range(1_000))
    )
