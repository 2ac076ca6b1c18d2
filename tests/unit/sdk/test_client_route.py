"""Which of several endpoints is in use."""

from __future__ import annotations

from dataclasses import dataclass

from tempolite_sdk.client.channel import Endpoint
from tempolite_sdk.client.route import LEADER_REST, Route


@dataclass(frozen=True)
class Node:
    endpoint: Endpoint


A, B, C = (Node(Endpoint(name, 1)) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_endpoint_is_in_use_at_first() -> None:
    assert Route((A, B)).in_use is A


def test_the_next_is_in_use_when_one_fails_and_the_first_again_after_the_last() -> None:
    route = Route((A, B))
    route.failed(A)
    assert route.in_use is B
    route.failed(B)
    assert route.in_use is A


def test_of_many_calls_that_fail_together_one_moves_the_client() -> None:
    route = Route((A, B, C))
    for _ in range(5):
        route.failed(A)
    assert route.in_use is B


def test_the_leader_is_followed() -> None:
    route = Route((A, B, C))
    route.note_leader(A, "c:1")
    assert route.in_use is C


def test_a_leader_that_is_not_among_the_endpoints_is_not_followed() -> None:
    route = Route((A, B))
    for leader in ("elsewhere:1", "not an address", ""):
        route.note_leader(A, leader)
    assert route.in_use is A


def test_what_an_endpoint_says_that_is_not_in_use_any_more_changes_nothing() -> None:
    route = Route((A, B, C))
    route.note_leader(A, "b:1")
    route.note_leader(A, "c:1")
    assert route.in_use is B


def test_a_refusal_that_names_the_leader_moves_the_client_there() -> None:
    route = Route((A, B, C))
    route.failed(A, leader="c:1")
    assert route.in_use is C


def test_a_leader_that_failed_is_not_gone_back_to_at_once() -> None:
    clock = Clock()
    route = Route((A, B), clock=clock)
    route.failed(A)
    route.note_leader(B, "a:1")
    assert route.in_use is B
    clock.now += LEADER_REST
    route.note_leader(B, "a:1")
    assert route.in_use is A


def test_a_refusal_by_the_leader_itself_moves_the_client_to_the_next() -> None:
    route = Route((A, B))
    route.failed(A, leader="a:1")
    assert route.in_use is B
