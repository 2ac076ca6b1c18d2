"""The node as a whole: what it is, how it fares, its pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tempolite_sdk.client import convert
from tempolite_sdk.client.calls.call import Affinity, Call, Conversation, Deadline, ask, to_component
from tempolite_sdk.client.info import Component, HandlerInfo, NodeInfo, Pool, Stats
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import DeadlineExceeded, Unavailable
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as pb


def info() -> Call[NodeInfo]:
    return Call("NodeService/GetNodeInfo", pb.GetNodeInfoRequest(), convert.node_info)


def handlers() -> Call[tuple[HandlerInfo, ...]]:
    return Call(
        "NodeService/ListHandlers",
        pb.ListHandlersRequest(),
        lambda response: tuple(convert.handler(each) for each in response.handlers),
    )


def stats(affinity: Affinity | None = None) -> Call[Stats]:
    return Call("NodeService/GetStats", pb.GetStatsRequest(), _stats, affinity=affinity)


def _stats(response: Any) -> Stats:
    return convert.stats(response.stats)


def wait(predicate: Callable[[Stats], bool], interval: Duration, timeout: Duration | None) -> Conversation[Stats]:
    """Asks the predicate for the stats, and again whenever they have changed, until it holds."""
    deadline = Deadline.after(timeout)
    affinity = Affinity()
    current = yield from deadline.ask(stats(affinity))
    while not predicate(current):
        if deadline.is_over:
            raise DeadlineExceeded(f"the predicate does not hold after {deadline.timeout:g} s")
        try:
            current = yield from ask(_wait_stats(current.revision, interval, deadline, affinity))
        except Unavailable:
            # Revisions begin anew with the node, and each node has its own: what there is may be less than what was.
            affinity = Affinity()
            current = yield from deadline.ask(stats(affinity))
    return current


def _wait_stats(after_revision: int, interval: Duration, deadline: Deadline, affinity: Affinity) -> Call[Stats]:
    request = pb.WaitStatsRequest(
        after_revision=after_revision,
        interval=convert.to_duration("interval", interval),
        timeout=convert.to_duration("timeout", deadline.hold),
    )
    return Call("NodeService/WaitStats", request, _stats, hold=deadline.hold, patience=0.0, affinity=affinity)


def pools() -> Call[tuple[Pool, ...]]:
    return Call(
        "NodeService/ListPools",
        pb.ListPoolsRequest(),
        lambda response: tuple(convert.pool(each) for each in response.pools),
    )


def pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/GetPool", pb.GetPoolRequest(component=to_component(component)), _pool)


def scale_pool(component: Component | str, workers: int) -> Call[Pool]:
    request = pb.ScalePoolRequest(component=to_component(component), workers=workers)
    return Call("NodeService/ScalePool", request, _pool, pinned=True)


def pause_pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/PausePool", pb.PausePoolRequest(component=to_component(component)), _pool, pinned=True)


def resume_pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/ResumePool", pb.ResumePoolRequest(component=to_component(component)), _pool, pinned=True)


def _pool(response: Any) -> Pool:
    return convert.pool(response.pool)
