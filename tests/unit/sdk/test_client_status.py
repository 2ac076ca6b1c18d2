"""The SDK's table of errors mirrors the node's."""

from __future__ import annotations

import grpc
import pytest

from tempolite_node.api.status import ERRORS, REJECTIONS, Rejected, status_of
from tempolite_node.engine.effects import Reason, Rejection
from tempolite_sdk.client.status import REASONS, Status, exception_of, is_connection_lost
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.errors import InvalidArgument, NodeFault, TempoliteError, Unavailable

from .client_peer import Peer, fails


def test_every_reason_of_the_node_has_an_exception() -> None:
    sent = {reason.name for reason in REJECTIONS} | {reason for _, reason in ERRORS.values()} | {"INTERNAL"}
    assert sent <= REASONS.keys()


@pytest.mark.parametrize("reason", list(Reason))
def test_a_rejection_keeps_its_message_on_the_way(reason: Reason) -> None:
    told = status_of(Rejected(Rejection(reason, "execution e1 says no")), "/tempolite.v1.ExecutionService/SendSignal")

    def refuse(_request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(told.trailing_metadata)
        context.abort(told.code, told.message)

    peer = Peer()
    peer.answers("SendSignal", refuse)
    with Client(peer.address) as client, pytest.raises(TempoliteError, match="execution e1 says no") as raised:
        client.send_signal("e1", "approve")
    peer.stop()
    assert type(raised.value) is type(REASONS[reason.name](Status(told.code, "")))


def test_a_reason_that_is_not_known_falls_back_on_its_code() -> None:
    newer = Status(grpc.StatusCode.UNAVAILABLE, "later", reason="NOT_LEADER")
    assert type(exception_of(newer)) is Unavailable


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "CLIENT: Sent message larger than max (140000000 vs. 135266304)",
            "the request has 140,000,000 bytes; at most 135,266,304 are allowed (the node's api.limits.message_bytes, ",
        ),
        (
            "Received message larger than max (5000062 vs. 4194304)",
            "the request has 5,000,062 bytes; at most 4,194,304 are allowed (the node's api.limits.message_bytes, ",
        ),
        (
            "Stream removed (CLIENT: Received message larger than max (150000000 vs. 135266304))",
            "the response has 150,000,000 bytes, and at most 135,266,304 are taken: ask for less (page_size=, ",
        ),
    ],
)
def test_what_grpc_refuses_for_its_size_is_told_with_size_limit_and_what_to_do(message: str, told: str) -> None:
    refused = exception_of(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, message))

    assert isinstance(refused, InvalidArgument)
    assert str(refused).startswith(told)


def test_details_of_another_domain_are_not_taken_for_the_nodes() -> None:
    peer = Peer()
    peer.answers("GetStats", fails(grpc.StatusCode.INTERNAL, "", "proxy gave up"))
    with Client(peer.address) as client, pytest.raises(NodeFault, match="proxy gave up"):
        client.stats()
    peer.stop()


@pytest.mark.parametrize(
    ("code", "message", "reason", "lost"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "", True),
        (grpc.StatusCode.UNAVAILABLE, "stopping", "UNAVAILABLE", True),
        (grpc.StatusCode.UNAVAILABLE, "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: …", "", False),
        (grpc.StatusCode.CANCELLED, "RST_STREAM with error code 8", "", True),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", "", True),
        (grpc.StatusCode.UNKNOWN, "Stream removed", "", True),
        (grpc.StatusCode.INTERNAL, "internal error; RST_STREAM", "INTERNAL", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", "QUEUE_FULL", False),
        (grpc.StatusCode.NOT_FOUND, "no execution", "NOT_FOUND", False),
    ],
)
def test_only_a_lost_connection_is_worth_a_repeat(code: grpc.StatusCode, message: str, reason: str, lost: bool) -> None:
    assert is_connection_lost(Status(code, message, reason)) is lost
