"""Where the nodes are, and how each is reached: addresses, TLS, token, channel options."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from tempolite_sdk.errors import FailedPrecondition, InvalidArgument
from tempolite_sdk.pb.tempolite.v1.cluster_service_pb2_grpc import ClusterServiceStub
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import ExecutionServiceStub
from tempolite_sdk.pb.tempolite.v1.node_service_pb2_grpc import NodeServiceStub

DEFAULT_ADDRESS = "127.0.0.1:8367"
DEFAULT_PORT = 8367
DEFAULT_TIMEOUT = 30.0  #: seconds

_UNLIMITED = -1  #: what a message may be at most is the node's to say: `api.limits` of its config


@dataclass(frozen=True, slots=True)
class TLS:
    """TLS with the node; with certificate and key, mutual.

    ca_file: PEM of the authorities that the node's certificate is checked against; None: those of gRPC.
    server_name: the name that the node's certificate must have, when it is not the address's host.
    """

    ca_file: str | os.PathLike[str] | None = None
    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidArgument("tls: cert_file and key_file go together; one of them is missing")

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them. Raises `InvalidArgument` for a file that can't be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read("tls.ca_file", self.ca_file),
            private_key=_read("tls.key_file", self.key_file),
            certificate_chain=_read("tls.cert_file", self.cert_file),
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> Endpoint:
        """Of "host:port", "host" or "[v6 address]:port"."""
        text = address.strip()
        if "," in text:
            raise InvalidArgument(f"address {address!r} names several endpoints, where one is meant")
        if "://" in text:
            raise InvalidArgument(f"address {address!r}: write host:port, without a scheme; TLS is asked for by tls=")
        host, separator, port = text.rpartition(":")
        if not separator or text.endswith("]"):
            host, port = text, str(DEFAULT_PORT)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidArgument(f"address {address!r}: write an IPv6 address in brackets, e.g. [::1]:{DEFAULT_PORT}")
        if not host or any(character.isspace() or character in "/@" for character in host):
            raise InvalidArgument(f"address {address!r} is not host:port")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
            raise InvalidArgument(f"address {address!r}: the port must be a number from 1 to 65535, not {port!r}")
        return cls(host.lower(), int(port))  # names of hosts have no case

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: where it leads is for others to say


@dataclass(frozen=True, slots=True)
class Target:
    """A node to call, and everything that a channel to it needs."""

    endpoint: Endpoint
    credentials: grpc.ChannelCredentials | None = None  #: None: plaintext
    token: str = field(default="", repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.token and self.credentials is None and not self.endpoint.is_loopback:
            raise InvalidArgument(
                f"the token would travel in the clear to {self.endpoint}: "
                "pass tls=TLS(ca_file=...), or no token (unset TEMPOLITE_TOKEN)"
            )
        if not self.token.isascii() or any(character.isspace() for character in self.token):
            raise InvalidArgument(
                "the token has a space or another character that no token has; is a newline left in it?"
            )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def options(self) -> list[tuple[str, int | str]]:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.max_receive_message_length", _UNLIMITED),
            # While a call is open, so that a stream notices a peer that vanished without a word. No oftener: the node
            # cuts off who pings more often than it allows.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 0),
            # Connecting is tried about as often as calls are repeated; gRPC's own default reaches two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            # A client has its own connection: closing it ends it, and another client's backoff is not ours.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.endpoint.is_loopback:
            options.append(("grpc.enable_http_proxy", 0))
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        return options

    def open(self) -> grpc.Channel:
        if self.credentials is None:
            return grpc.insecure_channel(str(self.endpoint), options=self.options)
        return grpc.secure_channel(str(self.endpoint), self.credentials, options=self.options)

    def open_async(self) -> grpc.aio.Channel:
        if self.credentials is None:
            return grpc.aio.insecure_channel(str(self.endpoint), options=self.options)
        return grpc.aio.secure_channel(str(self.endpoint), self.credentials, options=self.options)


class Wiring:
    """A channel and the methods behind it. Refuses what would hang: use after close, and in a forked child."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._methods = {
            f"{service}/{name}": method
            for service, stub in (
                ("ExecutionService", ExecutionServiceStub(channel)),  # type: ignore[no-untyped-call]
                ("NodeService", NodeServiceStub(channel)),  # type: ignore[no-untyped-call]
                ("ClusterService", ClusterServiceStub(channel)),  # type: ignore[no-untyped-call]
            )
            for name, method in vars(stub).items()
        }
        self._pid = os.getpid()
        self._closed = False

    @property
    def is_of_parent(self) -> bool:
        """Whether this process was forked since: gRPC's threads, and whoever held a lock then, are not in it."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """FailedPrecondition: a call would hang."""
        if self._closed:
            raise FailedPrecondition("the client is closed")
        if self.is_of_parent:
            raise FailedPrecondition("this client was made before a fork; make another one in the child process")

    def method(self, name: str) -> Any:
        """name: "<service>/<method>"."""
        self.check()
        return self._methods[name]

    def close(self) -> Any:
        """The channel, for its owner to close; None in a forked child, which has nothing to close."""
        self._closed = True
        if not self.is_of_parent:
            return self._channel
        _of_parent.append(self)
        return None


#: Clients of the parent that were closed in this process. Kept, since gRPC would wait for its threads to let them go.
_of_parent: list[Wiring] = []


def resolve_targets(
    address: str | Sequence[str] | None,
    *,
    token: str | None,
    tls: TLS | bool,
    credentials: grpc.ChannelCredentials | None,
    timeout: float,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Target, ...]:
    """What the arguments of a client mean, with TEMPOLITE_ADDRESS and TEMPOLITE_TOKEN for those that are missing.

    At least one; in the caller's order, each endpoint once.
    """
    if credentials is not None and tls:
        raise InvalidArgument("pass tls= or credentials=, not both")
    if not 0 < timeout < float("inf"):
        raise InvalidArgument(f"timeout must be a positive number of seconds, not {timeout}")
    settings = TLS() if tls is True else (tls or None)
    if settings is not None:
        credentials = settings.credentials()
    return tuple(
        Target(
            endpoint=endpoint,
            credentials=credentials,
            token=environ.get("TEMPOLITE_TOKEN", "") if token is None else token,
            server_name=settings.server_name if settings is not None else None,
        )
        for endpoint in _endpoints(address, environ)
    )


def _endpoints(address: str | Sequence[str] | None, environ: Mapping[str, str]) -> Sequence[Endpoint]:
    """Of "host:port,host:port", or of a sequence of addresses."""
    if address is None or address == "":
        address = environ.get("TEMPOLITE_ADDRESS") or DEFAULT_ADDRESS
    addresses = address.split(",") if isinstance(address, str) else address
    if not addresses:
        raise InvalidArgument("address: there is no endpoint in it")
    return list(dict.fromkeys(map(Endpoint.parse, addresses)))


def _read(name: str, path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{name}: {error}") from error
