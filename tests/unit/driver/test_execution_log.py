"""What the log tells of executions: a line for each that did not go well, and no flood of them."""

from __future__ import annotations

from typing import Any

import pytest

from tempolite_node.engine.commands import (
    CompleteAttempt,
    CompleteSideEffect,
    FailAttempt,
    SetSignalAside,
    SuspendAttempt,
    Terminate,
)
from tempolite_node.engine.effects import Halted, Registered
from tempolite_node.engine.model import Component, Failure, OperationKind, Options, Status
from tempolite_node.logger.lines import Line, LineFormat
from tempolite_node.logger.writer import LogWriter
from tempolite_node.node.execution_log import ExecutionLog

from ..engine.story import NODE
from .conftest import complete, enqueue, receive, saga_with_a_step, signal
from .simulated import SimulatedNode

BROKEN = FailAttempt(failure=Failure(type="ValueError", message="no such sku", non_retryable=True))


@pytest.fixture
def log() -> ExecutionLog:
    return log_of(NODE)


def log_of(node_id: str, **options: Any) -> ExecutionLog:
    return ExecutionLog(node_id, LogWriter(LineFormat.JSON), **options)  # not started: the test takes the lines


def lines(log: ExecutionLog, node: SimulatedNode, now_s: float = 0.0, *, last: bool = False) -> list[Line]:
    """What it makes of all that the node has published."""
    log.published(node.closed, node.happened)
    node.closed, node.happened = [], []
    return log.take(now_s, last=last)


def told(line: Line) -> tuple[str, dict[str, Any]]:
    assert (line.logger, line.level) == ("executions", "info")
    return line.event, dict(line.fields)


# --- what is told


def test_an_execution_that_completes_leaves_no_word(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    receive(node, "a")
    signal(node, "a")
    complete(node, "a")

    assert node.closed[-1].status is Status.COMPLETED
    assert node.happened == [Registered(requeued={})]
    assert lines(log, node) == []
    assert log.next_s(0.0) is None


def test_a_signal_that_was_set_aside_is_told_as_a_warning_with_its_sender_by_the_owner(node: SimulatedNode) -> None:
    enqueue(node, "a")
    signal(node, "a")
    receive(node, "a")
    attempt = node.attempts["a"]
    wrong = "by: " + "x" * 1_000
    node.say(attempt, "", SetSignalAside(key="1", name="go", error=wrong, timeout_ms=None, replayed=False))
    happened = list(node.happened)

    [line] = lines(log_of(NODE), node)

    assert (line.level, line.event.split(":")[0]) == ("warning", "a signal was set aside")
    assert dict(line.fields) == {
        "execution_id": "a",
        "handler": "h",
        "attempt": 1,
        "signal": "go",
        "sequence": 1,
        "error": f"{wrong[:500]} …",
    }
    other = log_of("another node")
    other.published([], happened)
    assert other.take(0.0, last=True) == []


def test_an_execution_that_failed_is_told_with_its_error(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    node.end(node.attempts["a"], BROKEN)

    [line] = lines(log, node)
    assert told(line) == (
        "an execution failed",
        {
            "execution_id": "a",
            "handler": "h",
            "attempt": 1,
            "error": "ValueError: no such sku",
            "why": "non_retryable_failure",
        },
    )


def test_a_journal_that_comes_to_a_tenth_of_its_limit_is_told_as_a_warning(
    node: SimulatedNode, log: ExecutionLog
) -> None:
    enqueue(node, "a", options=Options(max_operations=20))
    for number in range(3):
        request = CompleteSideEffect(key=f"k{number}", digest=b"", result=b"12345", started_ms=node.now_ms)
        node.say(node.attempts["a"], "", request)

    [line] = lines(log, node)

    assert line.level == "warning"
    assert (line.event, dict(line.fields)) == (
        "an execution's journal has come to a tenth of what it may have: let its handler continue as new",
        {
            "execution_id": "a",
            "handler": "h",
            "attempt": 1,
            "operations": 2,
            "max_operations": 20,
            "journal_bytes": 10,
            "max_journal_bytes": 1024**3,
        },
    )


def test_an_attempt_that_is_retried_is_not_told(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E")))

    assert lines(log, node) == []


def test_a_terminated_execution_is_told_with_the_reason(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    node.ask(Terminate(at_ms=node.now_ms, execution_id="a", reason="the operator said so"))

    [line] = lines(log, node)
    assert told(line) == (
        "an execution was terminated",
        {"execution_id": "a", "handler": "h", "attempt": 1, "reason": "the operator said so"},
    )


def test_an_execution_that_timed_out_is_told(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a", max_duration_ms=1_000)
    node.now_ms += 1_000
    node.round()

    [line] = lines(log, node)
    event, fields = told(line)
    assert (event, fields["error"].partition(":")[0]) == ("an execution timed out", "MaxDurationExceeded")


def test_a_suspended_execution_is_told_with_what_was_expected(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    node.end(node.attempts["a"], SuspendAttempt(kind=OperationKind.CHILD, key="ship#1", expected="ship", actual="sink"))

    [line] = lines(log, node)
    event, fields = told(line)
    assert event == "an execution was suspended: its code is not what was recorded"
    assert fields["error"] == "NonDeterminism: child ship#1: recorded was ship, replay asks for sink"


def test_a_saga_is_told_when_it_is_stuck_and_when_it_is_compensated(node: SimulatedNode, log: ExecutionLog) -> None:
    for name in ("stuck", "undone"):
        saga_with_a_step(node, name)
        node.end(node.attempts[name], BROKEN)
        assert lines(log, node) == []  # it has not ended
        node.end(node.attempts[name], CompleteAttempt() if name == "undone" else BROKEN)

        [line] = lines(log, node)
        event, fields = told(line)
        assert (fields["execution_id"], fields["error"]) == (name, "ValueError: no such sku")
        if name == "undone":
            assert event == "a saga failed and was compensated"
        else:
            assert (event, fields["compensation"]) == ("a saga is stuck: a compensation failed for good", "S#1")


def test_whoever_may_have_killed_a_worker_host_is_told_and_who_waited_in_it_is_not(
    node: SimulatedNode, log: ExecutionLog
) -> None:
    enqueue(node, "waits", options=Options(max_crashes=4))
    receive(node, "waits")
    enqueue(node, "runs", options=Options(max_crashes=4))
    node.host_down(1)

    [line] = lines(log, node)
    assert told(line) == (
        "an execution's worker host died while its code ran",
        {
            "execution_id": "runs",
            "handler": "h",
            "attempt": 1,
            "error": "WorkerHostDied: it died",
            "crashes": 1,
            "max_crashes": 4,
        },
    )


def test_a_start_tells_what_it_queued_again(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a")
    receive(node, "a")
    enqueue(node, "b")
    node.close()
    again = SimulatedNode(node.path, node.pools)
    again.host_up()

    [line] = lines(log, again)
    again.close()
    assert told(line) == (
        "this start queued executions again that ran before",
        {"count": 2, "handlers": {"h": 2}},
    )


def test_only_the_owner_tells(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.end(node.attempts["a"], BROKEN)
    saga_with_a_step(node, "stuck")
    node.end(node.attempts["stuck"], BROKEN)
    node.end(node.attempts["stuck"], BROKEN)
    assert any(isinstance(each, Halted) for each in node.happened)

    assert lines(log_of("another-node"), node) == []


def test_each_start_and_end_of_an_attempt_is_told_if_that_is_asked_for(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "unseen")
    complete(node, "unseen")
    node.dispatch.traces = True
    enqueue(node, "a")
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E", message="once")))
    node.now_ms += 2_000
    node.round()
    complete(node, "a")
    enqueue(node, "t")
    node.ask(Terminate(at_ms=node.now_ms, execution_id="t", reason="enough"))
    node.dispatch.traces = False
    enqueue(node, "unseen too")

    made = [line for line in lines(log, node) if line.level == "debug"]
    assert [(line.event, line.fields["execution_id"], line.fields["attempt"]) for line in made] == [
        ("an attempt started", "a", 1),
        ("an attempt ended", "a", 1),
        ("an attempt started", "a", 2),
        ("an attempt ended", "a", 2),
        ("an attempt started", "t", 1),
        ("an attempt ended", "t", 1),
    ]
    assert [line.fields["end"] for line in made if "end" in line.fields] == ["failed", "completed", "abandoned"]
    assert made[1].fields["error"] == "E: once"
    assert {line.fields["host"] for line in made} == {1}


def test_the_attempts_of_a_compensation_say_of_which(node: SimulatedNode, log: ExecutionLog) -> None:
    saga_with_a_step(node, "s")
    node.dispatch.traces = True
    node.end(node.attempts["s"], BROKEN)
    node.end(node.attempts["s"], CompleteAttempt())

    made = [line for line in lines(log, node) if line.level == "debug"]
    assert [line.fields.get("compensation") for line in made] == [None, "S#1", "S#1"]
    assert made[-1].fields["end"] == "completed"


# --- and how much


def failed(node: SimulatedNode, count: int) -> None:
    enqueue(node, "a")
    node.end(node.attempts["a"], BROKEN)
    node.closed *= count


def test_ten_thousand_failures_are_a_hundred_lines_and_one_that_counts_the_rest(
    node: SimulatedNode, log: ExecutionLog
) -> None:
    failed(node, 10_000)

    assert [line.event for line in lines(log, node, 1.0)] == ["an execution failed"] * 100
    assert log.next_s(4.0) == 7.0  # the line that counts is due when the ten seconds are over
    assert lines(log, node, 10.9) == []
    [line] = lines(log, node, 11.0)
    assert told(line) == ("9,900 more executions failed in the last 10 s", {"count": 9_900, "handlers": {"h": 9_900}})
    assert log.next_s(11.0) is None


def test_the_count_is_told_at_the_latest_when_the_log_ends(node: SimulatedNode, log: ExecutionLog) -> None:
    failed(node, 137)

    assert lines(log, node, 1.0, last=True)[-1].event == "37 more executions failed in the last 1 s"


def test_lines_are_told_singly_again_in_the_next_ten_seconds(node: SimulatedNode, log: ExecutionLog) -> None:
    failed(node, 101)
    assert len(lines(log, node, 1.0)) == 100
    node.closed = []
    enqueue(node, "b")
    node.end(node.attempts["b"], BROKEN)

    assert [line.event for line in lines(log, node, 11.0)] == [
        "1 more execution failed in the last 10 s",
        "an execution failed",
    ]


def test_one_kind_takes_no_lines_from_another(node: SimulatedNode, log: ExecutionLog) -> None:
    failed(node, 500)
    enqueue(node, "t")
    node.ask(Terminate(at_ms=node.now_ms, execution_id="t", reason=""))

    assert "an execution was terminated" in [line.event for line in lines(log, node)]


def test_what_waits_to_be_written_is_bounded_and_what_is_beyond_is_counted(node: SimulatedNode) -> None:
    log = log_of(NODE, waiting_max=10)
    failed(node, 1_000)

    made = lines(log, node, last=True)
    assert [line.event for line in made[:-1]] == ["an execution failed"] * 10
    assert made[-1].fields["count"] == 990


def test_a_message_without_end_is_cut(node: SimulatedNode, log: ExecutionLog) -> None:
    enqueue(node, "a", Component.HANDLER)
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E", message="x" * 100_000, non_retryable=True)))

    [line] = lines(log, node)
    assert len(line.fields["error"]) < 600
