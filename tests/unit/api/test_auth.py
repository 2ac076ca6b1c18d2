"""Who may call what."""

import hashlib

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tempolite_node.api.auth import RULES
from tempolite_node.cli.certificates import make_certificates
from tempolite_node.config import ApiConfig, Role
from tempolite_node.tls import read_pems
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as node_pb
from tempolite_sdk.pb.tempolite.v1.node_service_pb2_grpc import NodeServiceStub

from .conftest import open_channel, told


def token_entry(token: str, role: Role) -> dict[str, str]:
    return {"name": token, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}


TOKENS = [token_entry("look", Role.READER), token_entry("work", Role.OPERATOR), token_entry("rule", Role.ADMIN)]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def registered_methods(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> set[str]:
    """Every method of every service that the server says it has."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]), metadata=metadata)
    names = [service.name async for response in call for service in response.list_services_response.service]
    methods = set()
    for name in names:
        service = descriptor_pool.Default().FindServiceByName(name)
        methods |= {f"/{name}/{method.name}" for method in service.methods}
    return methods


async def test_every_method_that_is_served_has_a_rule(serve):
    served = await serve({"tokens": TOKENS})

    methods = await registered_methods(served.channel, bearer("look"))

    assert methods - RULES.keys() == set()
    assert len(methods) > 20


async def test_a_method_without_a_rule_is_refused(serve):
    served = await serve({"tokens": TOKENS})
    call = served.channel.unary_unary("/tempolite.v1.NodeService/Unheard")

    answer = await told(call(b"", metadata=bearer("rule")))

    assert answer.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ((), "no token"),
        ((("authorization", "Bearer wrong"),), "not valid"),
        ((("authorization", "Bearer "),), "not valid"),
        ((("authorization", "Basic rule"),), "not valid"),
        ((("authorization", "rule"),), "not valid"),
        ((("authorization", "Bearer rule"), ("authorization", "Bearer wrong")), "not valid"),
        ((("authorization", "Bearer " + TOKENS[2]["sha256"]),), "not valid"),
    ],
)
async def test_without_a_valid_token_every_call_is_refused(serve, metadata, message):
    served = await serve({"tokens": TOKENS})

    answers = [
        await told(served.nodes.GetStats(node_pb.GetStatsRequest(), metadata=metadata)),
        await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil"), metadata=metadata)),
        await told(served.executions.ReceiveSignals(pb.ReceiveSignalsRequest(), metadata=metadata).read()),
    ]

    for answer in answers:
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        assert message in answer.message
    assert served.node.commands == []


@pytest.mark.parametrize(
    ("token", "may_read", "may_operate", "may_administer"),
    [("look", True, False, False), ("work", True, True, False), ("rule", True, True, True)],
)
async def test_a_role_may_do_what_it_and_the_lower_ones_may(serve, token, may_read, may_operate, may_administer):
    served = await serve({"tokens": TOKENS})
    calls = [
        served.nodes.GetStats(node_pb.GetStatsRequest(), metadata=bearer(token)),
        served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil"), metadata=bearer(token)),
        served.nodes.PausePool(node_pb.PausePoolRequest(component=1), metadata=bearer(token)),
    ]

    codes = [await call.code() for call in calls]

    assert codes == [
        grpc.StatusCode.OK if may else grpc.StatusCode.PERMISSION_DENIED
        for may in (may_read, may_operate, may_administer)
    ]


async def test_the_health_check_needs_no_token(serve):
    served = await serve({"tokens": TOKENS})
    stub = health_pb2_grpc.HealthStub(served.channel)

    for service in ("", "tempolite.v1.ExecutionService", "tempolite.v1.NodeService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_needs_a_token(serve):
    served = await serve({"tokens": TOKENS})

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registered_methods(served.channel, ())

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


# --- tokens that change


def by_tokens(*tokens: dict[str, str]) -> ApiConfig:
    return ApiConfig.model_validate({"tokens": tokens})


async def test_a_token_that_was_revoked_lets_nobody_in_and_one_that_is_new_does(serve):
    served = await serve({"tokens": TOKENS})

    served.server.admit_by(by_tokens(token_entry("new", Role.READER)))

    answer = await told(served.nodes.GetStats(node_pb.GetStatsRequest(), metadata=bearer("rule")))
    assert answer.code is grpc.StatusCode.UNAUTHENTICATED
    assert await served.nodes.GetStats(node_pb.GetStatsRequest(), metadata=bearer("new"))


async def test_a_session_that_is_open_is_held_to_the_tokens_as_they_are_now(serve):
    served = await serve({"tokens": TOKENS})
    session = served.executions.Session(metadata=bearer("work"))
    enqueue = pb.EnqueueExecutionRequest(handler="fulfil")

    replies = []
    for number, tokens in enumerate(
        [TOKENS, [token_entry("work", Role.READER)], [token_entry("other", Role.ADMIN)]], start=1
    ):
        served.server.admit_by(by_tokens(*tokens))
        await session.write(pb.SessionRequest(calls=[pb.SessionCall(number=number, enqueue=enqueue)]))
        (reply,) = (await session.read()).replies
        replies.append(reply.error.message if reply.HasField("error") else "enqueued")

    too_low = "EnqueueExecution needs the role operator; the caller is reader"
    assert replies == ["enqueued", too_low, "the token is not valid"]
    session.cancel()


# --- client certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory, hosts=["localhost", "127.0.0.1"], clients=["ops", "watcher", "stranger"])
    return directory


def credentials(directory, client: str | None = None) -> grpc.ChannelCredentials:
    ca = (directory / "ca.pem").read_bytes()
    if client is None:
        return grpc.ssl_channel_credentials(ca)
    return grpc.ssl_channel_credentials(
        ca, (directory / f"client-{client}.key").read_bytes(), (directory / f"client-{client}.pem").read_bytes()
    )


def tls(directory) -> dict[str, str]:
    return {"certificate": str(directory / "server.pem"), "key": str(directory / "server.key")}


def mutual(directory) -> dict[str, object]:
    clients = [{"name": "ops", "role": "operator"}, {"name": "watcher", "role": "reader"}]
    return {"tls": tls(directory) | {"client_ca": str(directory / "ca.pem")}, "clients": clients}


async def test_over_tls_a_token_lets_in(serve, certificates):
    served = await serve({"tls": tls(certificates), "tokens": TOKENS}, credentials(certificates))

    assert await served.nodes.GetStats(node_pb.GetStatsRequest(), metadata=bearer("look"))
    answer = await told(served.nodes.GetStats(node_pb.GetStatsRequest()))
    assert answer.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_certificate_has_the_role_of_its_name(serve, certificates):
    served = await serve(mutual(certificates), credentials(certificates, "ops"))
    enqueued = await served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil"))

    async with open_channel(served.port, credentials(certificates, "watcher")) as channel:
        call = channel.unary_unary(
            "/tempolite.v1.ExecutionService/CancelExecution",
            request_serializer=pb.CancelExecutionRequest.SerializeToString,
        )
        answer = await told(call(pb.CancelExecutionRequest(id=enqueued.id)))

    assert answer.code is grpc.StatusCode.PERMISSION_DENIED
    assert "needs the role operator; the caller is reader" in answer.message


async def test_a_certificate_that_no_one_named_is_refused(serve, certificates):
    served = await serve(mutual(certificates), credentials(certificates, "stranger"))

    answer = await told(served.nodes.GetStats(node_pb.GetStatsRequest()))

    assert answer.code is grpc.StatusCode.UNAUTHENTICATED


async def test_without_a_certificate_there_is_no_connection(serve, certificates):
    served = await serve(mutual(certificates), credentials(certificates))

    answer = await told(served.nodes.GetStats(node_pb.GetStatsRequest()))

    assert answer.code is grpc.StatusCode.UNAVAILABLE


# --- certificates that change


async def test_new_connections_are_made_with_the_certificates_as_they_are_now(serve, certificates, tmp_path):
    served = await serve({"tls": tls(certificates)}, credentials(certificates))
    assert await served.nodes.GetStats(node_pb.GetStatsRequest())
    make_certificates(tmp_path, hosts=["localhost"], clients=[])  # of another authority
    assert served.server.certificates is not None
    renewed = read_pems(certificate=tmp_path / "server.pem", key=tmp_path / "server.key", authority=None)

    served.server.certificates.replace(renewed)

    async with open_channel(served.port, credentials(tmp_path)) as channel:
        assert await NodeServiceStub(channel).GetStats(node_pb.GetStatsRequest())
    fresh = [("grpc.use_local_subchannel_pool", 1)]
    async with open_channel(served.port, credentials(certificates), fresh) as channel:
        answer = await told(NodeServiceStub(channel).GetStats(node_pb.GetStatsRequest()))
        assert answer.code is grpc.StatusCode.UNAVAILABLE
    assert await served.nodes.GetStats(node_pb.GetStatsRequest()), "a connection that is open stays so"


async def test_a_client_is_asked_for_a_certificate_of_the_authority_as_it_is_now(serve, certificates, tmp_path):
    served = await serve(mutual(certificates), credentials(certificates, "ops"))
    make_certificates(tmp_path, hosts=["localhost"], clients=["ops"])
    assert served.server.certificates is not None
    renewed = read_pems(certificate=tmp_path / "server.pem", key=tmp_path / "server.key", authority=tmp_path / "ca.pem")

    served.server.certificates.replace(renewed)

    answer = await told(served.nodes.GetStats(node_pb.GetStatsRequest()))
    assert answer.code is grpc.StatusCode.UNAVAILABLE, "it had not connected before"
    async with open_channel(served.port, credentials(tmp_path, "ops")) as channel:
        assert await NodeServiceStub(channel).GetStats(node_pb.GetStatsRequest())
