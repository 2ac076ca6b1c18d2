"""The config as the node uses it: frozen, whole, every bound in it with its unit, its range and the reason.

Fields that end in _ms are written without it in the file, as durations ("30s").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from tempolite_node.config.bounds import AT_LEAST_ONE, FilePath, duration, size, text, whole
from tempolite_node.config.cluster import API_DEFAULT, ClusterConfig, completed, handler_name, overridden
from tempolite_node.config.pools import MaxJournal, MaxOperations, PoolsConfig, RetryConfig
from tempolite_node.config.section import LONG, Address, HostPort, Name, NodeId, Section, Timeout
from tempolite_node.config.source import FromEnvironment, Location
from tempolite_node.engine.model import PRIORITY_MAX, Isolation
from tempolite_node.roles import Role
from tempolite_node.system import tells_memory

# --- node


class NodeConfig(Section):
    id: NodeId
    data_dir: FilePath
    drain_timeout_ms: Annotated[
        int, duration("0s", "1h", "what stops the node waits this long for running attempts")
    ] = 30_000


# --- api


class TlsConfig(Section):
    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None  #: set: clients need a certificate of this CA


class TokenConfig(Section):
    """A bearer token, known by its hash only."""

    name: Name
    role: Role
    sha256: Annotated[str, text(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case: see `tempolite-node token`")]


class ClientConfig(Section):
    """The role of a client certificate, by its common name or a subject alternative name."""

    name: Name
    role: Role


class LimitsConfig(Section):
    """What one client can take of the node."""

    payload_bytes: Annotated[int, size("1KiB", "64MiB", "a payload is held in memory several times on its way")] = (
        2 * 1024**2
    )
    #: Of a request, and about the most of a page of a list. Clients send up to 2MiB of calls in one message.
    message_bytes: Annotated[
        int, size("4MiB", "128MiB", "clients send many calls in one message, which is held in memory while it is read")
    ] = 4 * 1024**2
    concurrent_rpcs: Annotated[
        int, whole(10, 100_000, "each holds some KiB; beyond it calls are refused, open waits included")
    ] = 1_000
    concurrent_streams: Annotated[
        int, whole(10, 10_000, "calls open at a time on one connection; a client's sessions and signals are some")
    ] = 100
    metadata_bytes: Annotated[int, size("1KiB", "64KiB", "a token takes less than 1KiB")] = 8 * 1024
    handshake_timeout_ms: Annotated[
        int, duration("100ms", "60s", "a client that connects and says nothing holds a socket this long")
    ] = 5_000

    @model_validator(mode="after")
    def _payload_fits_message(self) -> LimitsConfig:
        if self.message_bytes < self.payload_bytes + 64 * 1024:
            raise PydanticCustomError(
                "tempolite", "must exceed payload_bytes by at least 64KiB", {"at": ("message_bytes",)}
            )
        return self


class ApiConfig(Section):
    listen: HostPort = API_DEFAULT
    tls: TlsConfig | None = None
    tokens_file: FilePath | None = None  #: a YAML file with `tokens`; its tokens are in `tokens` after loading
    tokens: tuple[TokenConfig, ...] = ()
    clients: tuple[ClientConfig, ...] = ()
    limits: LimitsConfig = LimitsConfig()

    @property
    def authenticates(self) -> bool:
        """False: whoever reaches the address is admin; possible on loopback only."""
        return bool(self.tokens) or self.has_client_certificates

    @property
    def has_client_certificates(self) -> bool:
        return self.tls is not None and self.tls.client_ca is not None and bool(self.clients)

    @model_validator(mode="after")
    def _consistent(self) -> ApiConfig:
        if self.clients and (self.tls is None or self.tls.client_ca is None):
            raise PydanticCustomError(
                "tempolite", "need api.tls.client_ca: without it no client shows a certificate", {"at": ("clients",)}
            )
        if message := self.exposed(self.listen):
            raise PydanticCustomError("tempolite", "{message}", {"at": ("listen",), "message": message})
        return self

    def exposed(self, address: Address) -> str | None:
        """Why the API must not listen there, as it is set up."""
        if address.loopback or not (missing := self._missing_for_the_network()):
            return None
        return f"an address that others can reach needs TLS and authentication; set {missing}"

    def _missing_for_the_network(self) -> str:
        missing = [] if self.tls else ["api.tls.certificate and api.tls.key"]
        if not self.authenticates and self.tokens_file is None:
            missing.append("api.tokens or api.tokens_file, or api.tls.client_ca and api.clients")
        return "; and ".join(missing)


# --- hosts


class RecycleAfterConfig(Section):
    """When a worker host is replaced by a new one. Unset: that is no reason."""

    attempts: Annotated[int, whole(1, 1_000_000_000, "a host has to be of some use")] | None = None
    memory: Annotated[int, size("64MiB", "1024GiB", "the interpreter with the handlers takes its part")] | None = None
    age_ms: Annotated[int, duration("10s", "365d", "a host has to be of some use")] | None = None


class HostsConfig(Section):
    """The child processes that run user code."""

    processes: Annotated[int, whole(1, 256, "each is a Python process with the handlers imported")] = 1
    max_parked: Annotated[int, whole(0, 1_000_000, "a parked stack costs some 15 to 30KiB")] = 2_000
    park_ttl_ms: Annotated[int, duration("1s", "365d", LONG)] = 900_000
    max_suspects: Annotated[int, whole(1, 256, "each is a process with the handlers imported")] = 4
    recycle_after: RecycleAfterConfig = RecycleAfterConfig()
    max_lingering: Annotated[int, whole(1, 100_000, "each is a thread that nobody can stop")] = 100
    lingering_timeout_ms: Annotated[
        int, duration("1s", "1h", "code that ended late delays what follows it so long")
    ] = 30_000
    retiring_timeout_ms: Annotated[
        int, duration("1s", "1d", "what runs longer in a host that is replaced is cut off")
    ] = 60_000
    ping_interval_ms: Annotated[int, duration("100ms", "5m", "how soon a hung host is noticed")] = 5_000
    ping_timeout_ms: Annotated[
        int, duration("500ms", "1h", "a handler that holds the GIL this long loses its host")
    ] = 30_000
    start_timeout_ms: Annotated[
        int, duration("10s", "1h", "importing the handlers takes its time, and more of it on a busy machine")
    ] = 60_000
    python_path: tuple[FilePath, ...] = ()  #: behind the standard library; the file's default is its own directory

    @model_validator(mode="after")
    def _timeout_after_interval(self) -> HostsConfig:
        if self.ping_timeout_ms < self.ping_interval_ms:
            raise PydanticCustomError("tempolite", "must be at least ping_interval", {"at": ("ping_timeout",)})
        return self


# --- handlers


class OperationConfig(Section):
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: Timeout | None = None


class Params(bytes):
    """A JSON object, which knows which of its values come from the environment."""

    secrets: tuple[Location, ...] = ()


def _params(value: object) -> Params:
    if isinstance(value, Params):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping")  # noqa: TRY004
    try:
        params = Params(msgspec.json.encode(value, order="deterministic", enc_hook=_as_text))
    except (TypeError, ValueError) as error:
        raise ValueError("must be made of text, numbers, true, false, null, lists and mappings") from error
    params.secrets = tuple(_secrets(value, ()))
    return params


def _as_text(value: object) -> str:
    if isinstance(value, FromEnvironment):
        return str(value)
    raise TypeError(type(value).__name__)


def _secrets(value: object, at: Location) -> Iterator[Location]:
    """Where in it there are values from the environment."""
    if isinstance(value, FromEnvironment):
        yield at
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(item, (*at, index))


HANDLER_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,199}"
HANDLER_TARGET = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


class HandlerConfig(Section):
    """A handler that the node serves."""

    name: Annotated[str, text(HANDLER_NAME, "a letter, then up to 199 letters, digits and -_.")] = ""
    target: Annotated[str, text(HANDLER_TARGET, "module:function, e.g. shop.handlers:fulfil")]
    params: Annotated[Params, PlainValidator(_params)] = Params(b"{}")
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: Timeout | None = None
    max_duration_ms: Timeout | None = None
    queue_timeout_ms: Timeout | None = None
    max_operations: MaxOperations | None = None
    max_journal_bytes: MaxJournal | None = None
    heartbeat_timeout_ms: Timeout | None = None
    priority: Annotated[int, whole(-PRIORITY_MAX, PRIORITY_MAX, "higher first; 0 is normal")] = 0
    concurrency_key_limit: Annotated[
        int, whole(1, 1_000_000, "executions with one concurrency_key that are under way at a time")
    ] = 1
    isolation: Isolation = Isolation.SHARED
    memory_limit: (
        Annotated[int, size("64MiB", "1024GiB", "the interpreter with the handlers takes its part")] | None
    ) = None
    max_crashes: Annotated[int, whole(1, 1_000, "each crash costs the other attempts of its host a restart")] = 5
    side_effect: OperationConfig = OperationConfig()
    compensation: OperationConfig = OperationConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_of_the_function(cls, value: object) -> object:
        if isinstance(value, Mapping) and not value.get("name") and isinstance(value.get("target"), str):
            return {**value, "name": handler_name(value)}
        return value

    @model_validator(mode="after")
    def _limits_its_own_process(self) -> HandlerConfig:
        if self.memory_limit is not None and (message := self._why_no_limit()):
            raise PydanticCustomError("tempolite", "{message}", {"at": ("memory_limit",), "message": message})
        return self

    def _why_no_limit(self) -> str | None:
        if self.isolation is not Isolation.PROCESS:
            return "needs isolation: process, since in a shared worker host nobody knows whose memory it is"
        return None if tells_memory() else "needs /proc, which this system does not have"


# --- log


def _log_format(value: object) -> object:
    return "text" if value == "console" else value  # its former name


class LogConfig(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: auto: text on a terminal, JSON elsewhere
    format: Annotated[Literal["auto", "text", "json"], BeforeValidator(_log_format)] = "auto"


# --- the whole


class Config(Section):
    node: NodeConfig
    api: ApiConfig = ApiConfig()
    hosts: HostsConfig = HostsConfig()
    pools: PoolsConfig = PoolsConfig()
    handlers: Annotated[tuple[HandlerConfig, ...], AT_LEAST_ONE]
    cluster: ClusterConfig | None = None
    log: LogConfig = LogConfig()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        return completed(value) if isinstance(value, Mapping) else value

    def of_this_node(self) -> Config:
        """With the API's address, the handlers and the pools that the cluster's list gives to this node."""
        if self.cluster is None:
            return self
        node = self.cluster.node(self.node.id)
        return self.model_copy(
            update={
                "api": self.api.model_copy(update={"listen": node.listen}),
                "handlers": tuple(handler for handler in self.handlers if handler.name in node.handlers),
                "pools": overridden(self.pools, node.pools),
            }
        )

    def handler(self, name: str) -> HandlerConfig | None:
        return next((handler for handler in self.handlers if handler.name == name), None)
