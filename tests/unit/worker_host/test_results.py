"""A result that can't be stored fails its execution at once: its code has run, and is not to run again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, field_validator

from tempolite_node.engine.model import Options, RetryPolicy, Status
from tempolite_sdk import AsyncHandlerContext, HandlerContext

from .hosted import HostedNode, hosted


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


class Quantity(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_known(cls, number: int) -> int:
        return {1: 1, 2: 2}[number]  # KeyError


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_what_the_validator_of_a_result_raises_is_no_reason_to_run_the_handler_again(
    node: HostedNode, asynchronous: bool
) -> None:
    ran = []

    def body(_ctx: HandlerContext) -> Quantity:
        ran.append(1)
        return Quantity.model_construct(number=3)

    async def async_body(_ctx: AsyncHandlerContext) -> Quantity:
        ran.append(1)
        return Quantity.model_construct(number=3)

    node.serve(async_body if asynchronous else body, asynchronous=asynchronous)
    node.enqueue(options=Options(retry=RetryPolicy(maximum_attempts=3, initial_interval_ms=1)))
    node.until(lambda: node.execution().closed)

    execution = node.execution()
    assert (execution.status, len(ran)) == (Status.FAILED, 1)
    assert execution.failure is not None
    assert execution.failure.type == "InvalidResult"
    assert execution.failure.message.startswith("the result of h: can't be read: KeyError: 3")
