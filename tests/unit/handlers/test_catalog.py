"""Which handler a caller means, who gives a name, or a function."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.engine.model import Component, NodeState, ServedHandler
from tempolite_node.handlers.catalog import HandlerCatalog


def served(name: str, function: str) -> ServedHandler:
    return ServedHandler(name=name, component=Component.HANDLER, function=function)


PROCESS = served("process", "orders:process")
REFUND = served("process_refund", "shop.refunds:process")


def catalog(*own: ServedHandler, nodes: Mapping[str, tuple[ServedHandler, ...]] | None = None) -> HandlerCatalog:
    """nodes: what the others serve."""
    others = {
        node_id: NodeState(id=node_id, boot_id="run-1", incarnation=1, handlers=handlers)
        for node_id, handlers in (nodes or {}).items()
    }
    return HandlerCatalog(own, lambda: others, in_cluster=True)


def refusal(found: ServedHandler | Rejection) -> str:
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NOT_FOUND
    return found.message


@pytest.mark.parametrize("function", ["", "orders:process", ".orders:process"])
def test_a_handler_is_found_by_its_name_with_its_own_function_or_without_any(function: str) -> None:
    assert catalog(PROCESS, REFUND).find("process", function) is PROCESS


@pytest.mark.parametrize("function", ["shop.refunds:process", ".refunds:process"])
def test_a_function_that_is_served_under_another_name_is_found_although_its_own_is_taken(function: str) -> None:
    assert catalog(PROCESS, REFUND).find("process", function) is REFUND


@pytest.mark.parametrize(
    "function", ["other:process", ".other:process", "shop.orders:process", "orders:Orders.process", ".ders:process"]
)
def test_another_function_of_the_same_name_is_refused_and_both_are_named(function: str) -> None:
    told = refusal(catalog(PROCESS, REFUND).find("process", function))

    assert told.startswith(f"no node serves {function}: handler 'process' is orders:process")


def test_a_function_that_has_a_name_that_nobody_serves_is_refused_with_both() -> None:
    told = refusal(catalog(PROCESS).find("ship", "shop.parcels:ship"))

    assert told == "no node serves shop.parcels:ship, nor any handler 'ship'"


def test_a_name_that_nobody_serves_is_refused_with_those_that_are() -> None:
    told = refusal(catalog(PROCESS, REFUND).find("ship"))

    assert told == "no node serves handler 'ship', but process, process_refund"


def test_of_many_handlers_the_nearest_is_named_and_some_of_the_others() -> None:
    many = catalog(*[served(f"handler_{number:03}", "m:f") for number in range(300)], served("process", "m:process"))

    told = refusal(many.find("proces"))

    assert told.startswith("no node serves handler 'proces', but handler_000, handler_001, ")
    assert told.endswith(", handler_009 and 291 others; did you mean process?")


def test_a_function_that_is_served_twice_is_found_by_its_name_or_not_at_all() -> None:
    twice = catalog(served("fast", "orders:process"), served("slow", "orders:process"))

    assert refusal(twice.find("process", "orders:process")) == (
        "orders:process is served as fast, slow: enqueue it by one of these names"
    )
    assert twice.find("slow", "orders:process") == served("slow", "orders:process")


def test_what_another_node_of_the_cluster_serves_is_found_and_compared_as_ones_own() -> None:
    other = catalog(PROCESS, nodes={"node-2": (REFUND,)})

    assert other.find("process", "shop.refunds:process") is REFUND
    assert "handler 'process_refund' is shop.refunds:process" in refusal(other.find("process_refund", "orders:refund"))


def test_a_node_that_does_not_tell_its_functions_serves_by_name() -> None:
    earlier = catalog(nodes={"node-2": (served("process", ""),)})

    assert earlier.find("process", "orders:process") == served("process", "")


def test_while_nodes_are_deployed_one_after_the_other_a_function_may_be_in_either_place() -> None:
    moving = catalog(served("process", "shop.orders:process"), nodes={"node-2": (PROCESS,)})

    for function in ("shop.orders:process", "orders:process"):
        assert moving.find("process", function) == served("process", "shop.orders:process")
