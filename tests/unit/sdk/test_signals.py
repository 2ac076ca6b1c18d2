"""Signals with types: how a handler declares them, and what is said of one that does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from msgspec import Meta

from tempolite_sdk import AsyncSagaContext, HandlerContext, InvalidArgument, Signal
from tempolite_sdk.signals import name_and_type, not_declared, to_send, violations_of
from tempolite_sdk.signatures import signature_of


@dataclass
class Approval:
    by: str


@dataclass
class Sure:
    """Checks itself in its own way."""

    by: str

    def __post_init__(self) -> None:
        if not self.by:
            raise KeyError("by")


ANSWER = Signal("answer", str)
APPROVE = Signal("approve", Approval)
ANYTHING = Signal("anything")


def plain(ctx: HandlerContext, number: int) -> None: ...


def declares(ctx: Annotated[HandlerContext[dict[str, Any]], ANSWER, "a note for others", APPROVE]) -> None: ...


async def declares_later(ctx: Annotated[AsyncSagaContext, ANYTHING]) -> None: ...


def declares_twice(ctx: Annotated[HandlerContext, ANSWER, Signal("answer", int)]) -> None: ...


def declares_a_wrong_type(ctx: Annotated[HandlerContext, Signal("x", list[int] | set[int])]) -> None: ...


def test_a_handler_declares_its_signals_beside_its_context() -> None:
    assert signature_of(declares).signals == {"answer": str, "approve": Approval}
    assert signature_of(declares_later).signals == {"anything": Any}
    assert signature_of(plain).signals == {}


def test_its_context_stays_what_it_is() -> None:
    assert signature_of(declares).context_type == HandlerContext[dict[str, Any]]
    assert signature_of(declares_later).context_type is AsyncSagaContext


@pytest.mark.parametrize("meant", [Signal, Signal[str], (Signal("a", str), Signal("b", str)), {"a": Signal("a", str)}])
def test_what_is_meant_as_signals_and_declares_none_is_refused(meant: Any) -> None:
    def asks(ctx: HandlerContext) -> None: ...

    asks.__annotations__["ctx"] = Annotated[HandlerContext, meant]

    with pytest.raises(InvalidArgument, match=r"asks: .* declares no signal: name each object beside the context"):
        signature_of(asks)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(InvalidArgument, match="declares_twice: the signal 'answer' is declared twice"):
        signature_of(declares_twice)


def test_a_type_that_no_payload_can_be_read_as_is_found_when_the_handler_is_loaded() -> None:
    with pytest.raises(InvalidArgument, match="declares_a_wrong_type: signal 'x': "):
        signature_of(declares_a_wrong_type).check()


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", 5])
def test_a_signal_has_a_name(name: Any) -> None:
    with pytest.raises(InvalidArgument, match="the name of a signal is 1 to 200 printable characters"):
        Signal(name, str)


def test_signals_are_equal_by_name_and_type_and_tell_both() -> None:
    assert Signal("answer", str) == ANSWER != Signal("answer", int)
    assert len({ANSWER, Signal("answer", str), APPROVE}) == 2
    assert (repr(ANSWER), repr(ANYTHING)) == ("Signal('answer', str)", "Signal('anything', Any)")


def test_a_payload_is_checked_by_the_type_of_its_signal_and_by_none_where_there_is_but_a_name() -> None:
    assert to_send(APPROVE, Approval("ann")) == ("approve", b'{"by":"ann"}')
    assert to_send("approve", {"who": "ann"}) == ("approve", b'{"who":"ann"}')
    with pytest.raises(InvalidArgument, match="signal 'approve': by: Expected `str`, got `int`") as refused:
        to_send(APPROVE, {"by": 5})
    assert [each.field for each in refused.value.violations] == ["by"]


def test_whatever_a_type_s_own_check_raises_is_told_as_what_is_wrong() -> None:
    [violation] = violations_of(b'{"by":""}', Sure)
    assert (violation.field, violation.description) == ("", "can't be read: KeyError: 'by'")


def test_a_name_that_is_not_declared_is_told_with_those_that_are_and_the_nearest() -> None:
    assert not_declared("ask", "anwser", ["approve", "answer"]) == (
        "ask takes no signal 'anwser', but answer, approve; did you mean answer?"
    )
    assert not_declared("ask", "zzz", ["answer"]) == "ask takes no signal 'zzz', but answer"


def test_a_payload_that_would_come_back_as_something_else_is_refused_by_either_rule_of_its_time() -> None:
    later = Signal("later", Annotated[int, Meta(ge=1)])
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    with pytest.raises(InvalidArgument, match="signal 'answer': "):
        to_send(ANSWER, moment)
    assert to_send(ANSWER, moment, checked=False) == ("answer", b'"2026-01-01T00:00:00Z"')
    for checked in (True, False):
        with pytest.raises(InvalidArgument, match="signal 'later': Expected `int` >= 1"):
            to_send(later, 0, checked=checked)
    assert [each.description for each in violations_of(b"0", later.type)] == ["Expected `int` >= 1"]
    assert violations_of(b"1", later.type) == ()


def test_a_signal_has_its_type_and_is_received_as_no_other() -> None:
    assert name_and_type(ANSWER, Any) == ("answer", str)
    assert name_and_type("answer", int) == ("answer", int)
    with pytest.raises(InvalidArgument, match=r"Signal\('answer', str\) has the type of its payload"):
        name_and_type(ANSWER, int)
