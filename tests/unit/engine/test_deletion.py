"""What has ended is deleted: what it recorded first, and then it itself; nothing that goes on misses it."""

from __future__ import annotations

import pytest

from tempolite_node.engine.answers import recorded_answer
from tempolite_node.engine.commands import CompleteSideEffect, IdReuse, WaitForExecution
from tempolite_node.engine.effects import Deleted, Ended, Enqueued, Reason, Rejection
from tempolite_node.engine.model import OperationKind, Options, Status
from tempolite_node.store import clearing

from .story import NODE, Story, registration

TABLES = ("executions", "operations", "attempts", "inbox", "outbox", "timers")
GONE = Deleted()
DAY_MS = 86_400_000


def rows(story: Story) -> dict[str, int]:
    """Of each table that has any."""
    counts = {table: int(story.connection.execute(f"SELECT count(*) FROM {table}").get) for table in TABLES}
    return {table: count for table, count in counts.items() if count}


def ended(story: Story, execution_id: str = "order-1", effects: int = 2) -> str:
    """An execution that has recorded something of each kind, and has ended."""
    story.running(execution_id)
    story.signal(execution_id, "paid")
    story.retried(execution_id)
    for number in range(effects):
        effect = CompleteSideEffect(key=f"e{number}", digest=b"", result=b"1", started_ms=story.now_ms)
        story.ask(execution_id, effect)
    story.complete(execution_id)
    return execution_id


def test_nothing_is_left_of_what_is_deleted(story: Story) -> None:
    ended(story)

    assert story.delete("order-1") == GONE

    assert rows(story) == {}
    assert story.queries.execution("order-1") is None
    assert story.delete("order-1") == GONE, "asked again"


def test_what_goes_on_is_kept(story: Story) -> None:
    story.running("order-1")

    outcome = story.delete("order-1")

    assert outcome == Deleted(kept=("execution order-1 has not ended (running)",))
    assert story["order-1"].status is Status.RUNNING


def test_a_parent_is_kept_for_as_long_as_a_child_is_there(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "ship-1")
    story.start("ship-1")
    story.complete("ship-1")
    kept = story.delete("ship-1")
    assert kept == Deleted(kept=("execution ship-1 is a child of order-1, which has not ended (running)",))
    story.complete("order-1")

    assert story.delete("order-1") == Deleted(kept=("execution order-1 has children",))
    assert story.delete("ship-1", "order-1") == GONE

    assert rows(story) == {}


def test_the_first_of_runs_that_continue_each_other_has_their_signals_and_goes_last(story: Story) -> None:
    story.running("order-1")
    story.continue_as_new("order-1")
    first = story.queries.trees.runs("order-1")[0].id
    assert story.delete(first) == Deleted(kept=(f"execution {first} has the signals of the runs that go on with it",))
    story.start("order-1")
    story.signal("order-1", "paid")
    story.complete("order-1")

    assert story.delete("order-1", first) == GONE

    assert rows(story) == {}


def test_an_earlier_run_is_kept_while_a_later_one_goes_on(story: Story) -> None:
    ended(story)
    story.enqueue("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)
    earlier = story.queries.trees.runs("order-1")[0].id

    [why] = getattr(story.delete(earlier), "kept", ("",))

    assert why == f"execution {earlier} is an earlier run of order-1, which has not ended (queued)"
    story.start("order-1")
    story.complete("order-1")
    assert story.delete(earlier) == GONE
    assert story["order-1"].previous is not None, "and the run after it goes on without it"
    assert story.enqueue("order-1", request_id="again") == Rejection(
        Reason.ALREADY_EXISTS, "execution order-1 of fulfil exists (completed)"
    )


def test_its_id_is_free_and_no_late_word_of_it_is_taken_for_one_of_the_next(story: Story) -> None:
    ended(story)
    epoch = story["order-1"].epoch
    story.delete("order-1")

    story.enqueue("order-1")

    assert story["order-1"].epoch >= epoch
    story.delete("order-1")
    story.now_ms += 2 * DAY_MS
    story.enqueue("order-2")
    assert story["order-2"].epoch == 0, "after a day nothing of it can be on its way"


def test_who_waited_for_it_and_goes_on_has_the_answer(story: Story) -> None:
    story.running("order-1")
    story.running("invoice")
    wait = WaitForExecution(key="w", execution_id="order-1")
    assert story.ask("invoice", wait) is None
    story.complete("order-1", b'"paid"')

    story.delete("order-1")

    [recorded] = story.queries.operations(story["invoice"].row, 10)
    answer = Ended(execution_id="order-1", status=Status.COMPLETED, result=b'"paid"')
    assert recorded_answer(recorded) == answer
    story.restart()
    story.start("invoice")
    assert story.ask("invoice", wait) == answer


def test_a_wait_for_what_has_ended_has_the_answer_too(story: Story) -> None:
    story.running("order-1")
    story.fail("order-1", non_retryable=True)
    story.running("invoice")
    story.ask("invoice", WaitForExecution(key="w", execution_id="order-1"))
    failure = story["order-1"].failure

    story.delete("order-1")

    [recorded] = story.queries.operations(story["invoice"].row, 10)
    assert recorded_answer(recorded) == Ended(execution_id="order-1", status=Status.FAILED, failure=failure)


def test_a_parent_keeps_no_second_copy_of_what_its_child_ended_with(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "ship-1")
    story.ask("order-1", WaitForExecution(key="w", execution_id="ship-1"))
    story.start("ship-1")
    story.complete("ship-1")

    operations = {op.kind: op for op in story.queries.operations(story["order-1"].row, 10)}

    assert operations[OperationKind.WAIT].result is None


def test_when_its_journal_is_deleted_it_still_tells_how_it_ended(story: Story) -> None:
    ended(story)
    before = story["order-1"]

    assert story.clear("order-1") == GONE

    after = story["order-1"]
    assert rows(story) == {"executions": 1}
    assert (after.status, after.result, after.closed_ms) == (before.status, before.result, before.closed_ms)
    assert after.journal_deleted_ms == story.now_ms
    assert after.options == Options()
    assert story.clear("order-1") == GONE, "asked again"
    story.delete("order-1")
    assert rows(story) == {}


@pytest.mark.parametrize("size", [10, 100])
def test_a_request_is_still_compared_with_what_it_made(story: Story, size: int) -> None:
    arguments = b'[{"b": 1, "a": "%s"}]' % (b"x" * size)
    story.running("order-1", request_id="r", arguments=arguments)
    story.complete("order-1")
    story.clear("order-1")

    same = story.enqueue("order-1", request_id="r", arguments=b'[{"a":"%s","b":1}]' % (b"x" * size))
    other = story.enqueue("order-1", request_id="r", arguments=b"[2]")

    assert isinstance(same, Enqueued)
    assert same.existing
    assert isinstance(other, Rejection)
    assert "with other arguments" in other.message
    assert len(story["order-1"].arguments) < 64


def test_a_large_journal_is_deleted_in_steps(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "ROWS_MAX", 10)
    ended(story, effects=35)

    story.clear("order-1", in_steps=True)
    assert rows(story)["operations"] == 35
    fired = story.advance(1_000)

    assert fired == ["order-1 clearing"] * 4
    assert rows(story) == {"executions": 1}


def test_a_node_of_an_earlier_version_holds_deletion_back(story: Story) -> None:
    ended(story)
    story.remove(NODE)
    story.do(registration(NODE, boot_id="older", format=3))

    outcome = story.delete("order-1")

    assert isinstance(outcome, Rejection)
    assert "upgrade them" in outcome.message
    assert story["order-1"].closed
