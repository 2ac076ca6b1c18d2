"""An explanation as text: the sentence, then causes, what is next, what can be done, where the time went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tempolite_sdk import Cause, CauseKind, ExecutionStatus, Explanation, TimeSpent
from tempolite_sdk.client import convert
from tempolite_sdk.pb.tempolite.v1 import explanation_pb2

SINCE = datetime(2026, 1, 2, 10, tzinfo=UTC)

SIGNAL = Cause(kind=CauseKind.SIGNAL, text='waits for signal "approved"', since=SINCE, name="approved")
CHILD = Explanation(
    execution_id="e2",
    handler="approval",
    status=ExecutionStatus.WAITING,
    sentence='approval e2 waits for signal "approved" since 2 h',
    causes=(SIGNAL,),
)
PARENT = Explanation(
    execution_id="e1",
    handler="order",
    status=ExecutionStatus.WAITING,
    sentence='order e1 waits for the end of approval e2, which waits for signal "approved" <since> 2 h',
    causes=(Cause(kind=CauseKind.EXECUTION, text="waits for the end of approval e2", since=SINCE, awaited=CHILD),),
    next="the wait times out (in 1 h)",
    actions=("send it",),
    time_spent=TimeSpent(running=timedelta(seconds=1.5), waiting=timedelta(hours=2)),
)


def test_as_text_it_is_all_that_one_needs() -> None:
    assert str(PARENT).splitlines() == [
        'order e1 waits for the end of approval e2, which waits for signal "approved" <since> 2 h',
        "  - waits for the end of approval e2, since 2026-01-02 10:00:00+00:00",
        "    approval e2:",
        '      - waits for signal "approved", since 2026-01-02 10:00:00+00:00',
        "  next: the wait times out (in 1 h)",
        "  to do: send it",
        "  time: running 1.5 s, waiting 2:00:00",
    ]


def test_one_cause_is_not_told_twice() -> None:
    assert str(CHILD) == CHILD.sentence


def test_in_one_line_and_in_a_notebook_it_reads_too() -> None:
    assert repr(PARENT).startswith("Explanation(execution_id='e1', status='waiting', sentence=")
    assert "&lt;since&gt;" in PARENT._repr_html_()


def test_the_root_is_the_last_of_the_chain() -> None:
    assert PARENT.root is SIGNAL
    assert PARENT.since == SINCE


def test_a_kind_that_this_version_does_not_know_is_told_by_its_text() -> None:
    message = explanation_pb2.Explanation(status=4, causes=[explanation_pb2.Cause(kind=99, text="waits for rain")])  # type: ignore[arg-type]

    (cause,) = convert.explanation(message).causes

    assert (cause.kind, cause.text) == (CauseKind.UNKNOWN, "waits for rain")
