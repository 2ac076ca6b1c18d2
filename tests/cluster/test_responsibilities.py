"""Each node has responsibilities of its own, and every node answers for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tempolite_sdk import (
    Client,
    ExecutionCancelled,
    ExecutionInfo,
    ExecutionStatus,
    ExecutionTerminated,
    HandlerContext,
    InvalidArgument,
    NotFound,
    OperationInfo,
)
from tempolite_sdk.signatures import _known_signature_of
from tests.e2e.daemon import PATIENCE_S, until_status

from .cluster import Cluster, Node
from .conftest import Found

SERVED_BY = {
    "a": ["handler", "work", "wait_for", "ask"],
    "b": ["saga_handler", "add", "quick", "tell", "stay", "tell_other"],
    "c": ["handler_side", "listen", "gather", "nap"],
}
HANDLERS = [
    *(f"brief:{name}" for name in ("handler", "saga_handler", "handler_side")),
    *(f"recovering:{name}" for name in ("work", "wait_for", "add", "quick", "listen", "gather", "nap")),
    "signalling:tell",
    "declaring:ask",
    {"target": "declaring:tell", "name": "tell_other"},
    "stoppable:stay",
]
NODES = {node_id: {"handlers": handlers} for node_id, handlers in SERVED_BY.items()}
BRIEF = "42, ticket of first, ticket of second; result!!!; something with hello"


@pytest.fixture(scope="module")
def three(shared_cluster: Found) -> Cluster:
    """With one worker in every pool, each serving what none of the others does."""
    return shared_cluster(*HANDLERS, nodes=NODES)


@pytest.fixture(params=sorted(SERVED_BY))
def asked(three: Cluster, request: pytest.FixtureRequest) -> Node:
    """Each of the nodes in turn."""
    return three[request.param]


@pytest.fixture
def client(asked: Node) -> Iterator[Client]:
    with asked.client() as client:
        yield client


def execution(client: Client, id: str) -> ExecutionInfo:
    info = client.get(id)
    assert isinstance(info, ExecutionInfo)
    return info


def test_any_node_takes_what_any_other_runs(client: Client) -> None:
    handles = {
        "a": client.enqueue("work", 3),
        "b": client.enqueue("add", 3),
        "c": client.enqueue("nap", 0.01),
    }
    assert [handle.result(PATIENCE_S) for handle in handles.values()] == [[3, 4, 3], 4, "awake"]
    assert {node_id: handle.info().node_id for node_id, handle in handles.items()} == {"a": "a", "b": "b", "c": "c"}


def test_children_run_on_the_nodes_that_serve_them(client: Client) -> None:
    handle = client.enqueue("handler", 2)
    handle.send_signal("wait-input", "hello")
    assert handle.result(PATIENCE_S) == BRIEF
    tree = handle.tree()
    ran_on = {each.execution.handler: each.execution.node_id for each in tree}
    assert ran_on == {"handler": "a", "saga_handler": "b", "handler_side": "c"}


def test_many_children_on_other_nodes_are_waited_for_at_once(client: Client) -> None:
    assert client.execute("gather", 20) == [*range(20), *range(20)]


def test_a_signal_sent_to_any_node_reaches_the_one_that_waits_for_it(client: Client) -> None:
    handle = client.enqueue("listen")
    assert handle.send_signal("word", "hello") == 1
    assert handle.result(PATIENCE_S) == "hello"


def test_what_an_execution_tells_its_clients_is_followed_on_any_node(client: Client) -> None:
    handle = client.enqueue("tell", 6)
    handle.send_signal("go on")
    assert [signal.payload for signal in handle.receive_signals(type=int)] == list(range(6))


def test_an_execution_is_cancelled_through_any_node(client: Client) -> None:
    handle = client.enqueue("listen")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel("not needed any more")
    with pytest.raises(ExecutionCancelled, match="not needed any more"):
        handle.result(PATIENCE_S)


def test_an_execution_is_terminated_with_its_children_through_any_node(client: Client) -> None:
    root = client.enqueue("stay", "waiting_for_child")
    until_status(client, f"{root.id}.child", ExecutionStatus.WAITING)
    root.terminate("enough")
    with pytest.raises(ExecutionTerminated, match="enough"):
        root.result(PATIENCE_S)
    assert execution(client, f"{root.id}.child").status is ExecutionStatus.TERMINATED


def test_what_one_node_acknowledged_every_other_one_knows_at_once(three: Cluster, client: Client) -> None:
    for number in range(10):
        handle = client.enqueue("quick", number)
        for other in three.nodes.values():
            with other.client() as there:
                assert execution(there, handle.id).handler == "quick"


def test_a_wait_at_one_node_ends_with_an_execution_enqueued_at_another(three: Cluster, client: Client) -> None:
    handle = client.enqueue("listen")
    with ExitStack() as stack:
        clients = [stack.enter_context(other.client()) for other in three.nodes.values()]
        waiting = stack.enter_context(ThreadPoolExecutor())
        results = [waiting.submit(there.handle(handle.id).result, PATIENCE_S) for there in clients]
        handle.send_signal("word", "for all")
        assert [result.result() for result in results] == ["for all"] * 3


def test_an_execution_that_no_node_has_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.handle("never-there").result(timeout=PATIENCE_S)
    with pytest.raises(NotFound):
        client.get("never-there")


def test_lists_trees_and_operations_are_the_same_everywhere(three: Cluster) -> None:
    with three.client() as client:
        root = client.enqueue("work", 7)
        assert root.result(PATIENCE_S) == [7, 8, 7]
    seen = []
    for node in three.nodes.values():
        with node.client() as there:
            operation = there.get(f"{root.id}/side_effect/first")
            assert isinstance(operation, OperationInfo)
            listed = [info.id for info in there.list(handler="work")]
            seen.append((there.tree(root.id), operation, listed, there.count()))
    assert seen[0] == seen[1] == seen[2]
    assert root.id in seen[0][2]


# --- what is refused


def test_arguments_are_checked_by_a_node_that_serves_the_handler(client: Client) -> None:
    count = client.count()
    for handler in ("work", "add", "nap"):
        with pytest.raises(InvalidArgument) as refused:
            client.enqueue(handler, "three")
        assert [violation.field for violation in refused.value.violations] in (
            ["arguments.number"],
            ["arguments.seconds"],
        )
    assert client.count() == count, "nothing was stored"


def test_a_batch_for_several_nodes_is_refused_whole_for_one_wrong_argument(client: Client) -> None:
    count = client.count()
    with pytest.raises(InvalidArgument, match=r"requests\[1\]"):
        client.enqueue_many("add", [[1], ["two"], [3]], atomic=True)
    assert client.count() == count


def test_a_handler_that_no_node_serves_is_refused(client: Client) -> None:
    with pytest.raises(NotFound, match="no node serves handler 'nobody'"):
        client.enqueue("nobody")


# --- and nobody is there to run it


def test_work_whose_nodes_are_all_down_is_taken_and_runs_when_one_is_back(cluster: Found) -> None:
    nodes = {"a": {"handlers": ["quick"]}, "b": {"handlers": ["quick"]}, "c": {}}
    three = cluster("recovering:add", "recovering:quick", nodes=nodes, cluster={"node_timeout": "2s"})
    with three.client() as client:
        before = client.enqueue("add", 1)
        assert before.result(PATIENCE_S) == 2
        three["c"].kill()
        three.until_lost(three["c"])
        after = client.enqueue("add", 2)
        assert client.execute("quick", 3) == 3
        info = after.info()
        assert (info.status, info.node_id) == (ExecutionStatus.QUEUED, "c")
        assert "c" in info.waits_for_node
        three["c"].start()
        assert after.result(PATIENCE_S) == 3
        assert after.info().waits_for_node == ""


def test_any_node_refuses_a_signal_that_the_handler_of_another_does_not_declare(client: Client) -> None:
    handle = client.enqueue("ask")
    with pytest.raises(InvalidArgument, match="did you mean answer"):
        handle.send_signal("anwser", "yes")
    with pytest.raises(InvalidArgument, match="Expected `str`, got `int`"):
        handle.send_signal("answer", 5)
    with pytest.raises(InvalidArgument, match="required field `by`"):
        handle.send_signal("approve", {"level": 2})
    # and so does the node of a handler that sends one
    told = client.execute("tell_other", handle.id, "approve", {"level": 2})
    assert told == "signal 'approve' to ask: payload: Object missing required field `by`"
    handle.send_signal("answer", "yes")
    assert client.execute("tell_other", handle.id, "approve", {"by": "ann"}) == "sent"
    assert handle.result(PATIENCE_S) == "yes, approved by ann"


def test_any_node_finds_the_function_that_another_serves_and_takes_no_other_for_it(client: Client) -> None:
    def tell(ctx: HandlerContext, to: str, name: str, payload: str) -> str:
        raise NotImplementedError

    tell.__module__, tell.__qualname__ = "declaring", "tell"
    handle = client.enqueue("ask")
    assert client.execute(tell, handle.id, "answer", "yes") == "sent"
    tell.__module__ = "other"
    _known_signature_of.cache_clear()
    with pytest.raises(NotFound, match="no node serves other:tell: handler 'tell' is signalling:tell"):
        client.enqueue(tell, handle.id, "answer", "yes")
