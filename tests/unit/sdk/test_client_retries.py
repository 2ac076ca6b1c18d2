"""Where a call is tried, how often, how long and with which pauses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from tempolite_sdk.client.calls.call import Affinity, Call
from tempolite_sdk.client.channel import Endpoint
from tempolite_sdk.client.retries import INITIAL_PAUSE, MAXIMUM_PAUSE, POLL_GRACE, Tries
from tempolite_sdk.client.route import Route
from tempolite_sdk.client.status import CallFailed, Status
from tempolite_sdk.errors import DeadlineExceeded, NotFound, OutcomeUnknown, Unavailable


@dataclass(frozen=True)
class Node:
    endpoint: Endpoint


A, B, C = (Node(Endpoint(name, 1)) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def lost(
    message: str = "Socket closed",
    *,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    reason: str = "",
    retry_after: float | None = None,
) -> CallFailed:
    return CallFailed(Status(code, message, reason, retry_after=retry_after))


def call(**options: Any) -> Call[Any]:
    return Call("NodeService/GetStats", None, lambda response: response, **options)


def tries(patience: float, *nodes: Node, call: Call[Any] = call(), **options: Any) -> Tries[Node]:  # noqa: B008
    return Tries(Route(nodes or (A,)), call, patience, **{"jitter": longest, **options})


def test_pauses_double_up_to_a_maximum() -> None:
    trying = tries(1_000)
    pauses = [trying.pause_after(lost()) for _ in range(8)]
    assert pauses[:3] == [INITIAL_PAUSE, 2 * INITIAL_PAUSE, 4 * INITIAL_PAUSE]
    assert pauses[-1] == MAXIMUM_PAUSE


def test_jitter_is_full() -> None:
    drawn: list[tuple[float, float]] = []
    trying = tries(1_000, jitter=lambda low, high: drawn.append((low, high)) or low)  # type: ignore[func-returns-value]
    trying.pause_after(lost())
    assert drawn == [(0.0, INITIAL_PAUSE)]


def test_a_call_is_given_up_when_its_time_is_up() -> None:
    clock = Clock()
    trying = tries(30, clock=clock)
    assert trying.timeout(call()) == 30
    trying.pause_after(lost())
    clock.now += 29.99
    with pytest.raises(Unavailable, match="given up after 30 s: Socket closed"):
        trying.pause_after(lost())


def test_the_patience_with_a_long_poll_starts_at_its_first_failure() -> None:
    clock = Clock()
    poll = call(hold=20)
    trying = tries(30, call=poll, clock=clock)
    clock.now += 1_000
    trying.pause_after(lost())
    assert trying.timeout(poll) == 20 + POLL_GRACE
    clock.now += 31
    with pytest.raises(Unavailable):
        trying.pause_after(lost())


def test_a_poll_is_not_repeated_beyond_the_time_of_its_caller() -> None:
    clock = Clock()
    trying = tries(30, call=call(hold=20, until=clock.now + 5), clock=clock)
    clock.now += 4.99
    with pytest.raises(DeadlineExceeded, match="no answer before the timeout: Socket closed"):
        trying.pause_after(lost())


def test_it_is_the_callers_time_that_is_up_also_when_the_next_pause_would_end_behind_it() -> None:
    clock = Clock()
    trying = tries(30, call=call(until=clock.now + INITIAL_PAUSE / 2), clock=clock)
    with pytest.raises(DeadlineExceeded):
        trying.pause_after(lost())


def test_the_patience_ends_a_call_before_the_callers_time_does() -> None:
    clock = Clock()
    trying = tries(30, call=call(until=clock.now + 60), clock=clock)
    clock.now += 30
    with pytest.raises(Unavailable, match="given up after 30 s"):
        trying.pause_after(lost())


def test_a_poll_is_held_no_longer_than_its_caller_waits() -> None:
    clock = Clock()
    poll = call(hold=20, until=clock.now + 21)
    trying = tries(30, call=poll, clock=clock)
    assert trying.timeout(poll) == 20 + POLL_GRACE
    clock.now += 18
    trying.pause_after(lost())
    assert trying.timeout(poll) == 3 + POLL_GRACE


def test_a_poll_that_the_node_never_answers_counts_as_lost() -> None:
    assert tries(30, call=call(hold=20)).pause_after(lost(code=grpc.StatusCode.DEADLINE_EXCEEDED)) >= 0


def test_a_stream_that_works_again_gets_its_whole_patience_back() -> None:
    clock = Clock()
    stream = call(hold=math.inf)
    trying = tries(30, call=stream, clock=clock)
    assert trying.timeout(stream) is None
    trying.pause_after(lost())
    trying.succeeded()
    clock.now += 60
    assert trying.pause_after(lost()) == INITIAL_PAUSE


def test_what_a_repeat_can_not_help_is_raised_at_once() -> None:
    with pytest.raises(NotFound):
        tries(30).pause_after(lost(code=grpc.StatusCode.NOT_FOUND))


def test_a_node_is_left_alone_for_as_long_as_it_says() -> None:
    assert tries(30).pause_after(lost(retry_after=5)) == 5


# --- several endpoints


def test_each_try_goes_to_the_next_endpoint() -> None:
    trying = tries(30, A, B, C)
    tried = [trying.next_link()]
    for _ in range(3):
        trying.pause_after(lost())
        tried.append(trying.next_link())
    assert tried == [A, B, C, A]


def test_pauses_grow_with_each_round_of_the_endpoints() -> None:
    trying = tries(1_000, A, B)
    pauses = [trying.pause_after(lost()) for _ in range(6)]
    assert pauses == [factor * INITIAL_PAUSE for factor in (1, 1, 2, 2, 4, 4)]


def test_the_pause_that_a_node_asks_for_counts_when_every_endpoint_has_failed() -> None:
    trying = tries(30, A, B)
    assert trying.pause_after(lost(retry_after=5)) == INITIAL_PAUSE
    assert trying.pause_after(lost(retry_after=5)) == 5


def test_a_node_that_says_nothing_leaves_time_for_the_others() -> None:
    clock = Clock()
    trying = tries(30, A, B, C, clock=clock)
    assert trying.timeout(call()) == 10
    clock.now += 25
    assert trying.timeout(call()) == 5
    trying.pause_after(lost(code=grpc.StatusCode.DEADLINE_EXCEEDED))
    assert trying.next_link() is B


def test_a_total_failure_names_every_endpoint_and_what_it_said() -> None:
    clock = Clock()
    trying = tries(30, A, B, C, clock=clock)
    trying.next_link()
    trying.pause_after(lost("connection refused"))
    trying.next_link()
    clock.now += 30
    with pytest.raises(Unavailable) as raised:
        trying.pause_after(lost("no quorum", reason="NO_QUORUM"))
    assert str(raised.value) == "given up after 30 s: a:1: connection refused; b:1: no quorum; c:1: was not asked"
    assert type(raised.value) is Unavailable


def test_what_may_be_stored_is_said_when_it_is_given_up() -> None:
    clock = Clock()
    trying = tries(30, A, B, clock=clock)
    trying.pause_after(lost("the leader is gone", reason="OUTCOME_UNKNOWN"))
    trying.next_link()
    clock.now += 30
    with pytest.raises(OutcomeUnknown, match=r"a:1: the leader is gone; b:1: Socket closed"):
        trying.pause_after(lost())


def test_a_last_try_that_runs_out_of_time_is_raised_as_what_the_node_said_before() -> None:
    trying = tries(1_000)
    trying.pause_after(lost("no majority answers", reason="NO_QUORUM"))

    with pytest.raises(Unavailable, match="no majority answers"):
        trying.pause_after(lost("Deadline Exceeded", code=grpc.StatusCode.DEADLINE_EXCEEDED))


def test_what_is_about_one_node_is_not_repeated_at_another() -> None:
    route = Route((A, B))
    trying = Tries(route, call(pinned=True), 30)
    assert trying.timeout(call()) == pytest.approx(30, abs=1)
    trying.pause_after(lost())
    assert trying.next_link() is A
    assert route.in_use is B


def test_what_makes_sense_at_one_node_goes_there_whichever_is_in_use() -> None:
    affinity = Affinity()
    affinity.link = B
    assert Tries(Route((A, B)), call(affinity=affinity), 30).next_link() is B


def test_an_endpoint_that_is_not_trusted_is_left_for_the_next_and_none_is_asked_twice() -> None:
    trying = tries(30, A, B)
    trying.next_link()
    trying.pause_after(lost("CERTIFICATE_VERIFY_FAILED"))
    trying.next_link()
    with pytest.raises(Unavailable, match="CERTIFICATE"):
        trying.pause_after(lost("CERTIFICATE_VERIFY_FAILED"))


# --- what a caller is told meanwhile

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
    "Failed to connect to remote host: connect: Connection refused (111)"
)
WARNING = "no node answers at a:1 (connection refused): trying for 30 s"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tempolite.client"]


def test_that_no_node_answers_is_told_at_the_first_failure_and_once(caplog: pytest.LogCaptureFixture) -> None:
    route = Route([A])
    trying = [Tries(route, call(), 30, clock=Clock(), jitter=longest) for _ in range(2)]

    for each in trying * 3:
        each.next_link()
        each.pause_after(lost(REFUSED))

    assert warnings(caplog) == [WARNING]


def test_it_is_told_again_when_a_node_had_answered_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    trying = tries(30, clock=Clock())
    trying.next_link()
    trying.pause_after(lost(REFUSED))
    trying.answered()

    trying.pause_after(lost(REFUSED))

    assert warnings(caplog) == [WARNING] * 2


def test_a_refusal_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    trying = tries(30, clock=Clock())
    trying.next_link()
    trying.pause_after(lost(REFUSED))
    with pytest.raises(NotFound):
        trying.pause_after(lost("no execution a", code=grpc.StatusCode.NOT_FOUND))

    trying.pause_after(lost(REFUSED))

    assert warnings(caplog) == [WARNING] * 2


def test_as_long_as_one_of_the_nodes_answers_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trying = tries(30, A, B, clock=Clock())
    trying.next_link()
    trying.pause_after(lost(REFUSED))
    trying.next_link()
    trying.answered()
    assert warnings(caplog) == []

    for _ in (A, B):
        trying.next_link()
        trying.pause_after(lost(REFUSED))

    assert warnings(caplog) == [
        "no node answers at a:1 (connection refused), b:1 (connection refused): trying for 30 s"
    ]


def test_in_the_end_one_line_says_how_long_and_what_to_do_with_nothing_chained_to_it() -> None:
    clock = Clock()
    trying = tries(30, clock=clock)
    clock.now += 30
    with pytest.raises(Unavailable) as raised:
        trying.pause_after(lost(REFUSED))

    assert str(raised.value) == (
        "given up after 30 s: no node answers at a:1 (connection refused); start it with "
        "`tempolite-node --config node.yaml`, or say where it is: address=, TEMPOLITE_ADDRESS"
    )
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    "message",
    [
        "DNS resolution failed for nowhere:8367: C-ares status is not ARES_SUCCESS qtype=A: Domain name not found",
        "errors resolving nowhere:8367: [field:hostname lookup error:address lookup failed for nowhere:8367: ...]",
    ],
)
def test_a_name_that_leads_nowhere_is_told_as_that(caplog: pytest.LogCaptureFixture, message: str) -> None:
    tries(30, clock=Clock()).pause_after(lost(message))

    assert warnings(caplog) == ["no node answers at a:1 (there is no such host): trying for 30 s"]


def test_a_stream_that_is_refused_is_no_news_of_the_node(caplog: pytest.LogCaptureFixture) -> None:
    trying = tries(30, clock=Clock())

    trying.pause_after(lost("Stream removed (RST_STREAM with error code 7)"))
    trying.pause_after(lost("the node is stopping", reason="UNAVAILABLE"))

    assert warnings(caplog) == []
