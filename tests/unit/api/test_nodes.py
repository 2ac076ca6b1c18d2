"""NodeService over a real channel."""

import asyncio
import socket

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tempolite_node.api import polls
from tempolite_node.api.server import ApiServer
from tempolite_node.config import Config
from tempolite_node.errors import StartError
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as pb

from .conftest import told
from .memory_node import CONFIG, MemoryNode


async def test_the_node_tells_what_it_is_and_serves(served):
    info = await served.nodes.GetNodeInfo(pb.GetNodeInfoRequest())
    handlers = await served.nodes.ListHandlers(pb.ListHandlersRequest())

    assert (info.node_id, info.applied_index, info.hosts[0].pid) == ("node-1", 7, 2)
    assert info.hosts[0].lingering == 5
    assert [handler.name for handler in handlers.handlers] == ["fulfil", "ship"]
    assert handlers.handlers[0].retry_policy.maximum_attempts == 3
    assert handlers.handlers[0].concurrency_key_limit == 1


async def test_pools_are_shown_scaled_paused_and_resumed(served):
    saga = common_pb2.COMPONENT_SAGA

    scaled = await served.nodes.ScalePool(pb.ScalePoolRequest(component=saga, workers=9))
    paused = await served.nodes.PausePool(pb.PausePoolRequest(component=saga))
    resumed = await served.nodes.ResumePool(pb.ResumePoolRequest(component=saga))
    pools = (await served.nodes.ListPools(pb.ListPoolsRequest())).pools

    assert (scaled.pool.workers, paused.pool.paused, resumed.pool.paused) == (9, True, False)
    assert [pool.workers for pool in pools] == [1, 9, 1, 1]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("GetPool", pb.GetPoolRequest(), ["component"]),
        ("PausePool", pb.PausePoolRequest(component=9), ["component"]),
        ("ResumePool", pb.ResumePoolRequest(component=9), ["component"]),
        ("ScalePool", pb.ScalePoolRequest(), ["component", "workers"]),
        ("ScalePool", pb.ScalePoolRequest(component=1, workers=10_001), ["workers"]),
        (
            "WaitStats",
            pb.WaitStatsRequest(interval=Duration(seconds=-1), timeout=Duration(seconds=-1)),
            ["interval", "timeout"],
        ),
    ],
)
async def test_every_mistake_of_a_request_is_named(served, method, request_, fields):
    answer = await told(getattr(served.nodes, method)(request_))

    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == fields


async def test_a_wait_for_stats_answers_when_they_have_changed(served):
    revision = (await served.nodes.GetStats(pb.GetStatsRequest())).stats.revision
    request = pb.WaitStatsRequest(after_revision=revision, interval=Duration())
    wait = asyncio.ensure_future(served.nodes.WaitStats(request))

    served.node.change()

    assert (await wait).stats.revision == revision + 1


async def test_a_wait_for_stats_answers_before_the_deadline_of_its_caller(served, monkeypatch):
    monkeypatch.setattr(polls, "DEADLINE_MARGIN_MS", 59_000)

    response = await served.nodes.WaitStats(pb.WaitStatsRequest(after_revision=1), timeout=60)

    assert response.stats.revision == 1


async def test_an_address_that_is_taken_is_an_error_at_start():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = Config.model_validate(CONFIG | {"api": {"listen": address}})

        with pytest.raises(StartError, match=address):
            await ApiServer(MemoryNode(config).ports()).start()
