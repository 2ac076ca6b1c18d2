"""`tempolite-node cluster`, against a peer on a real connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb

from .command_line import Result, run
from .sdk.client_peer import Peer, fails


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.stop()


def ask(peer: Peer, *arguments: str) -> Result:
    return run("cluster", *arguments, "--endpoint", peer.address, "--timeout", "5")


def member(node_id: str, **fields: object) -> pb.Member:
    known = {"address": f"{node_id}:1", "api_address": f"{node_id}:2", "live": True, "votes": True, "connected": True}
    return pb.Member(node_id=node_id, **({"incarnation": 1} | known | fields))  # type: ignore[arg-type]


def shop(*members: pb.Member, **fields: object) -> pb.GetClusterResponse:
    known = {"name": "shop", "node_id": "a", "role": "leader", "leader": "a", "term": 3, "commit_index": 90}
    return pb.GetClusterResponse(cluster=pb.Cluster(members=members, **(known | fields)))  # type: ignore[arg-type]


def test_the_status_shows_each_node_on_a_line(peer: Peer) -> None:
    workers = [pb.PoolWorkers(component="COMPONENT_HANDLER", workers=4)]
    a = member("a", matched_index=90, lag=0, handlers=["fulfil", "ship"], open_executions=5, workers=workers)
    b = member("b", live=False, connected=False, matched_index=80, lag=10)
    c = member("c", live=False, votes=False, incarnation=0, api_address="", refused="[d] who are you?")
    peer.answers("GetCluster", shop(a, b, c, member("d", draining=True), applied_index=88))

    result = ask(peer, "status")

    assert result.exit_code == 0
    head, columns, *rows = result.stdout.splitlines()
    assert head == "cluster shop: a leads in term 3; committed up to 90 (as seen by a, leader, which has applied 88)"
    assert columns.split() == ["node", "state", "API", "peers", "log", "open", "workers", "handlers"]
    assert rows[0].split() == ["a", "leads", "a:2", "a:1", "90", "5", "4", "handler", "fulfil,", "ship"]
    assert "dead, not connected with a" in rows[1]
    assert "80 (-10)" in rows[1]
    assert "never started, refused: [d] who are you?, catches up" in rows[2]
    assert "drains" in rows[3]


def test_nobody_leads(peer: Peer) -> None:
    peer.answers("GetCluster", shop(member("a"), leader="", role="candidate"))

    assert "cluster shop: nobody leads in term 3" in ask(peer, "status").stdout


def test_the_status_is_the_leaders_where_it_can_be_asked(peer: Peer) -> None:
    leader = Peer()
    try:
        peer.leader = leader.address
        peer.answers("GetCluster", shop(node_id="b", role="follower"))
        leader.answers("GetCluster", shop())

        both = run("cluster", "status", "--endpoint", f"{peer.address},{leader.address}")
        one = ask(peer, "status")
    finally:
        leader.stop()

    assert "as seen by a, leader" in both.stdout
    assert "as seen by b, follower" in one.stdout


def test_the_status_as_json_has_everything(peer: Peer) -> None:
    workers = [pb.PoolWorkers(component="COMPONENT_SAGA", workers=2)]
    peer.answers("GetCluster", shop(member("a", workers=workers, handlers=["fulfil"])))

    shown = json.loads(ask(peer, "status", "--json").stdout)

    assert (shown["name"], shown["leader"], shown["commit_index"]) == ("shop", "a", 90)
    assert shown["members"][0]["workers"] == {"saga": 2}
    assert shown["members"][0]["handlers"] == ["fulfil"]
    assert shown["members"][0]["lag"] is None


def test_members_come_and_go_and_the_leadership_moves(peer: Peer) -> None:
    peer.answers("GetCluster", shop(member("a"), member("d")))
    peer.answers("AddMember", pb.AddMemberResponse())
    peer.answers("RemoveMember", pb.RemoveMemberResponse())
    peer.answers("TransferLeadership", pb.TransferLeadershipResponse(leader="b"))

    results = [
        ask(peer, *command)
        for command in (["add", "d", "127.0.0.1:9364"], ["remove", "d"], ["transfer", "--to", "b"], ["transfer"])
    ]

    assert [(result.exit_code, result.stdout) for result in results] == [
        (0, "d is a member.\n"),
        (0, "d is no member any more.\n"),
        (0, "b leads.\n"),
        (0, "b leads.\n"),
    ]
    assert peer.requests["AddMember"] == [pb.AddMemberRequest(node_id="d", address="127.0.0.1:9364")]
    assert [request.node_id for request in peer.requests["TransferLeadership"]] == ["b", ""]


def test_a_removal_that_is_repeated_succeeds_and_says_who_the_members_are(peer: Peer) -> None:
    peer.answers("GetCluster", shop(member("a"), member("b")))
    peer.answers("RemoveMember", pb.RemoveMemberResponse())

    result = ask(peer, "remove", "d")

    assert (result.exit_code, result.stdout) == (0, "d was no member; members are: a, b.\n")
    assert peer.requests["RemoveMember"] == [pb.RemoveMemberRequest(node_id="d")]


def test_what_the_node_refuses_is_told_and_the_exit_code_is_1(peer: Peer) -> None:
    message = "a is the leader: transfer the leadership to another node first"
    peer.answers("GetCluster", shop(member("a")))
    peer.answers("RemoveMember", fails(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE", message))

    result = ask(peer, "remove", "a")

    assert (result.exit_code, result.stderr) == (1, f"tempolite-node: {message}\n")


def test_a_token_comes_from_its_file(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tn_secret\n")
    peer.answers("GetCluster", shop(member("d")))
    peer.answers("RemoveMember", pb.RemoveMemberResponse())

    ask(peer, "remove", "d", "--token-file", str(tmp_path / "token"))

    assert peer.metadata["RemoveMember"][0]["authorization"] == "Bearer tn_secret"


@pytest.mark.parametrize(
    "arguments", [["status", "--nope"], ["add", "d"], ["remove"], ["status", "--ca", "/nonexistent"], ["nonsense"]]
)
def test_wrong_usage_exits_with_2(peer: Peer, arguments: list[str]) -> None:
    assert ask(peer, *arguments).exit_code == 2
