"""Results that can't be stored: what has run is not to run again, and what could not be read is not to run at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, field_validator

from tempolite_node.engine.model import Options, RetryPolicy, Status
from tempolite_sdk import AsyncHandlerContext, HandlerContext, InvalidArgument

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


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_side_effect_whose_type_nothing_can_be_read_as_does_not_run(node: HostedNode, asynchronous: bool) -> None:
    ran: list[int] = []
    said: list[str] = []

    def body(ctx: HandlerContext) -> None:
        for begin in (ctx.side_effect, ctx.start_side_effect):
            with pytest.raises(InvalidArgument) as refused:
                begin("charge", lambda: ran.append(1), type="int")  # type: ignore[call-overload]
            said.append(str(refused.value))

    async def async_body(ctx: AsyncHandlerContext) -> None:
        with pytest.raises(InvalidArgument) as refused:
            await ctx.side_effect("charge", lambda: ran.append(1), type="int")  # type: ignore[call-overload]
        said.append(str(refused.value))

    node.serve(async_body if asynchronous else body, asynchronous=asynchronous)
    node.enqueue()
    node.until(lambda: node.execution().closed)

    assert node.execution().status is Status.COMPLETED
    assert ran == []
    assert all("'int' can't be read from JSON" in each for each in said)
