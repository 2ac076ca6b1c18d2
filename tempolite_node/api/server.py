"""The gRPC server: listens, lets in, answers, drains."""

from __future__ import annotations

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tempolite_node.api.auth import Authenticator
from tempolite_node.api.cluster import ClusterService
from tempolite_node.api.executions import ExecutionService
from tempolite_node.api.interceptors import AuthInterceptor, LimitInterceptor, StatusInterceptor
from tempolite_node.api.leader import LeaderInterceptor
from tempolite_node.api.nodes import NodeService
from tempolite_node.api.polls import Polls
from tempolite_node.api.ports import NodePorts
from tempolite_node.config import ApiConfig, LimitsConfig
from tempolite_node.errors import StartError
from tempolite_node.tls import ServerCertificates, read_pems
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2, execution_service_pb2, node_service_pb2
from tempolite_sdk.pb.tempolite.v1.cluster_service_pb2_grpc import add_ClusterServiceServicer_to_server
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import add_ExecutionServiceServicer_to_server
from tempolite_sdk.pb.tempolite.v1.node_service_pb2_grpc import add_NodeServiceServicer_to_server

logger = structlog.get_logger(__name__)

SERVICES = (
    execution_service_pb2.DESCRIPTOR.services_by_name["ExecutionService"].full_name,
    node_service_pb2.DESCRIPTOR.services_by_name["NodeService"].full_name,
    cluster_service_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name,
)


class ApiServer:
    """Serves one node. Started and stopped once, on the loop that the node runs on."""

    def __init__(self, node: NodePorts) -> None:
        self._node = node
        self._config = node.config.api
        self._polls = Polls()
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._authenticator = Authenticator(self._config)
        self.certificates: ServerCertificates | None = None  #: with TLS, once it has started

    async def start(self) -> int:
        """The port that it listens on. StartError when it can't."""
        limits = self._config.limits
        server = grpc.aio.server(interceptors=self._interceptors(), options=_channel_options(limits))
        add_ExecutionServiceServicer_to_server(ExecutionService(self._node, self._polls), server)  # type: ignore[no-untyped-call]
        add_NodeServiceServicer_to_server(NodeService(self._node, self._polls), server)  # type: ignore[no-untyped-call]
        add_ClusterServiceServicer_to_server(ClusterService(self._node), server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = self._listen(server)
        for service in SERVICES:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        return port

    def _interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """Outermost first."""
        always = [
            StatusInterceptor(),
            LimitInterceptor(self._config.limits.concurrent_rpcs),
            AuthInterceptor(self._authenticator),
        ]
        return [*always, LeaderInterceptor(self._node)] if self._node.cluster is not None else always

    def _listen(self, server: grpc.aio.Server) -> int:
        address = str(self._config.listen)
        try:
            if self._config.tls is None:
                return int(server.add_insecure_port(address))
            tls = self._config.tls
            pems = read_pems(certificate=tls.certificate, key=tls.key, authority=tls.client_ca)
            self.certificates = ServerCertificates(pems)
            return int(server.add_secure_port(address, self.certificates.credentials()))
        except RuntimeError as error:
            raise StartError(f"can't listen on {address}: is it taken?") from error

    def admit_by(self, config: ApiConfig) -> None:
        """Has callers known by other tokens and certificates from now on, in calls that are open as well."""
        self._authenticator.admit_by(config)

    async def stop(self, grace: float) -> None:
        """Answers open polls, refuses new calls, and gives the others `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        self._polls.stop()
        if self._server is not None:
            await self._server.stop(grace)


def _channel_options(limits: LimitsConfig) -> list[tuple[str, int]]:
    """What a cut-off or hostile client can't exceed."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_concurrent_streams", limits.concurrent_streams),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.server_handshake_timeout_ms", limits.handshake_timeout_ms),
        # A client that is gone without a word is noticed within 80 s, and its waits are given up.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients may ping an idle connection each 10 s; who pings oftener is disconnected.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        # A second node on the same port must fail, not take every other connection.
        ("grpc.so_reuseport", 0),
    ]
