"""When a handler is told to continue as new: the same at each place of its code, whenever that is replayed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tempolite_node.engine import commands
from tempolite_node.engine.effects import Value
from tempolite_node.engine.formats import FORMAT
from tempolite_node.engine.model import OperationKind, OperationStatus
from tempolite_node.protocol.messages import Record, RunHandler
from tempolite_node.worker_host.attempt import Attempt
from tempolite_node.worker_host.conversations import Ask
from tempolite_node.worker_host.operations import conversation_of
from tempolite_node.worker_host.sync_runtime import SyncRuntime
from tempolite_sdk import operations

RECEIVE = operations.ReceiveSignal("word", str, None, None)


def told(payloads: Sequence[bytes], journal: Sequence[Record], roomy: tuple[int, int]) -> list[bool]:
    """What the code is told before each signal that it receives, and at the end; with so much of it in the journal."""
    run = RunHandler(
        execution_id="order-1",
        epoch=1,
        handler="fulfil",
        arguments=b"[]",
        attempt=1,
        generation=0,
        journal=tuple(journal),
        format=FORMAT,
        roomy=roomy,
    )
    handler: Any = SimpleNamespace(signature=SimpleNamespace(signals={}), asynchronous=False)
    services: Any = SimpleNamespace(channel=SimpleNamespace(send=lambda _message: None))
    attempt = Attempt(run, handler, services, cast(Any, None))
    runtime = SyncRuntime(attempt, attempt.scope)
    answers = []
    with attempt.scope as scope:
        for payload in payloads:
            answers.append(runtime.continue_as_new_suggested)
            with suppress(StopIteration):
                conversation = conversation_of(runtime, scope, RECEIVE)
                asked = next(conversation)
                assert isinstance(asked, Ask)
                assert isinstance(asked.request, commands.ReceiveSignal)
                conversation.send(Value(payload=payload))
        answers.append(runtime.continue_as_new_suggested)
    return answers


@pytest.mark.parametrize(
    ("roomy", "expected"),
    [
        ((3, 1_000_000), [False, False, False, True, True]),
        ((1_000, 15), [False, False, False, True, True]),
        ((1_000, 1_000_000), [False] * 5),
    ],
)
def test_it_is_told_by_what_its_code_has_passed_and_so_the_same_in_each_replay(
    roomy: tuple[int, int], expected: list[bool]
) -> None:
    payloads = [b'"one"', b'"two"', b'"three"', b'"four"']
    journal = [
        Record(
            kind=OperationKind.SIGNAL,
            key=f"word#{number}",
            status=OperationStatus.COMPLETED,
            target="word",
            result=payload,
        )
        for number, payload in enumerate(payloads, start=1)
    ]

    assert [told(payloads, journal[:recorded], roomy) for recorded in range(5)] == [expected] * 5
