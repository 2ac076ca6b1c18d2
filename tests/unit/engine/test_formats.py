"""What nodes of different versions have in common: the format of the log that all of them know."""

from __future__ import annotations

import msgspec

from tempolite_node.engine.commands import Batch, LoseNode, RegisterNode, RemoveNode
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.engine.formats import FORMAT, handlers_in
from tempolite_node.engine.model import Component, Options, RetryPolicy, ServedHandler
from tempolite_node.engine.work import Work

from .story import NODE, Story, registration

LATER = FORMAT + 1


def format_in_use(story: Story) -> int:
    return Work(story.executions).format


def test_a_node_that_registers_without_a_format_knows_the_first_one(story: Story) -> None:
    story.remove(NODE)
    story.do(RegisterNode(at_ms=story.now_ms, node_id=NODE, boot_id="old", handlers=(), slots={}))

    assert story.executions.nodes()[NODE].format == 1
    assert format_in_use(story) == 1


def test_the_format_in_use_is_the_latest_that_all_nodes_know(story: Story) -> None:
    story.do(registration("node-2", format=LATER + 1))
    assert format_in_use(story) == FORMAT

    story.do(registration(NODE, boot_id="upgraded", format=LATER))

    assert format_in_use(story) == LATER


def test_a_node_that_is_down_holds_it_back_and_one_that_is_removed_does_not(story: Story) -> None:
    story.do(registration("node-2"))
    story.do(registration(NODE, boot_id="upgraded", format=LATER))
    story.lose("node-2")
    assert format_in_use(story) == FORMAT

    story.do(RemoveNode(at_ms=story.now_ms, node_id="node-2"))

    assert format_in_use(story) == LATER


def test_a_node_may_go_back_to_an_earlier_version_until_its_format_is_in_use(story: Story) -> None:
    story.do(registration("node-2"))
    story.do(registration(NODE, boot_id="upgraded", format=LATER))
    story.do(registration(NODE, boot_id="went back"))
    assert story.executions.nodes()[NODE].boot_id == "went back"
    story.do(registration(NODE, boot_id="upgraded again", format=LATER))
    story.do(registration("node-2", boot_id="upgraded", format=LATER))

    outcome = story.do(registration(NODE, boot_id="went back again"))

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE
    assert (
        outcome.message
        == f"the log is in format {LATER}, and this version of node {NODE} knows up to {FORMAT}: upgrade it"
    )
    assert story.executions.nodes()[NODE].boot_id == "upgraded again"
    assert format_in_use(story) == LATER


def test_a_format_comes_into_use_within_the_entry_that_brings_it(story: Story) -> None:
    work = Work(story.executions)
    assert work.format == FORMAT

    decide(work, registration(NODE, boot_id="upgraded", format=LATER))

    assert work.format == LATER


def test_the_format_of_a_node_is_in_the_store(story: Story) -> None:
    story.do(registration(NODE, boot_id="upgraded", format=LATER))

    story.restart()

    assert story.executions.nodes()[NODE].format == LATER


def seeds(story: Story) -> dict[str, int | None]:
    return {node.id: node.hash_seed for node in story.executions.nodes().values()}


def test_the_hash_seed_of_the_first_node_is_that_of_all_for_as_long_as_one_of_them_is_there(story: Story) -> None:
    story.do(registration(NODE, hash_seed=1))
    story.do(registration("node-2", hash_seed=2))
    story.do(registration(NODE, boot_id="with another process", hash_seed=3))
    assert seeds(story) == {NODE: 1, "node-2": 1}

    story.restart()
    story.lose(NODE)
    story.do(RemoveNode(at_ms=story.now_ms, node_id=NODE))
    story.do(registration("node-3", hash_seed=4))

    assert seeds(story) == {"node-2": 1, "node-3": 1}


def test_a_hash_seed_is_decided_once_all_nodes_know_of_it(story: Story) -> None:
    story.of_format(2)
    story.do(registration("node-2", hash_seed=2))
    assert seeds(story) == {NODE: None, "node-2": None}

    story.do(registration(NODE, boot_id="upgraded", hash_seed=1))
    assert seeds(story) == {NODE: 1, "node-2": None}
    story.do(registration("node-2", hash_seed=2))

    assert seeds(story) == {NODE: 1, "node-2": 1}


def test_the_id_of_a_process_is_stored_and_sent_as_run() -> None:
    lost = LoseNode(at_ms=0, node_id="node-2", boot_id="b")

    assert msgspec.to_builtins(lost) == {"type": "LoseNode", "at_ms": 0, "node_id": "node-2", "run": "b"}
    assert msgspec.convert(msgspec.to_builtins(lost), LoseNode) == lost
    assert msgspec.to_builtins(Batch(node_id="n", boot_id="b", sequence=1, at_ms=0))["run"] == "b"


def test_an_execution_keeps_the_format_that_was_in_use_when_it_was_enqueued(story: Story) -> None:
    story.of_format(1)
    story.enqueue("earlier")
    story.do(registration(NODE, boot_id="upgraded", format=2))

    story.enqueue("later")
    story.restart()

    assert (story["earlier"].format, story["later"].format) == (1, 2)


def test_no_policy_tells_of_spent_retries_before_all_nodes_know_them(story: Story) -> None:
    policy = RetryPolicy(retry_spent=True)
    options = Options(retry=policy, compensation_retry=policy)
    served = ServedHandler(name="h", component=Component.HANDLER, options=options)
    story.of_format(2)
    story.enqueue("earlier", options=options)
    story.do(registration(NODE, boot_id="upgraded"))
    story.enqueue("later", options=options)

    assert story["earlier"].options == Options(retry=RetryPolicy(), compensation_retry=RetryPolicy())
    assert story["later"].options == options
    assert handlers_in(2, [served])[0].options == story["earlier"].options
    assert handlers_in(FORMAT, [served]) == (served,)
