"""The config as the node uses it: frozen, whole, every bound in it with its unit, its range and the reason.

Fields that end in _ms are written without it in the file, as durations ("30s").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from tempolite_node.config.bounds import AT_LEAST_ONE, FilePath, duration, number, size, text, whole
from tempolite_node.engine.model import Component, Isolation
from tempolite_node.frames import PRIORITY_MAX

WORKERS_MAX = 10_000


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        alias_generator=lambda name: name.removesuffix("_ms"),
        arbitrary_types_allowed=True,
    )


_LONG = "longer than a year is a mistake in the unit"


# --- node


class NodeConfig(Section):
    id: Annotated[str, text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "1 to 64 letters, digits and -_.")]
    data_dir: FilePath
    drain_timeout_ms: Annotated[
        int, duration("0s", "1h", "what stops the node waits this long for running attempts")
    ] = 30_000


# --- api


class Role(StrEnum):
    """Each may do what the one before it may, and more."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"


_Name = Annotated[str, text(r"[^\x00-\x1f\x7f]{1,200}", "1 to 200 printable characters")]


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int  #: 0: any free port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it. A name other than localhost may resolve to anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})", value)
    if match is None or int(match[3]) > 65_535:
        raise ValueError("must be host:port, e.g. 127.0.0.1:8367 or [::1]:8367")
    return Address(match[1] or match[2], int(match[3]))


class TlsConfig(Section):
    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None  #: set: clients need a certificate of this CA


class TokenConfig(Section):
    """A bearer token, known by its hash only."""

    name: _Name
    role: Role
    sha256: Annotated[str, text(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case: see `tempolite-node token`")]


class ClientConfig(Section):
    """The role of a client certificate, by its common name or a subject alternative name."""

    name: _Name
    role: Role


class LimitsConfig(Section):
    """What one client can take of the node."""

    payload_bytes: Annotated[int, size("1KiB", "64MiB", "a payload is held in memory several times on its way")] = (
        2 * 1024**2
    )
    message_bytes: Annotated[int, size("64KiB", "128MiB", "a message is held in memory while it is read")] = 4 * 1024**2
    concurrent_rpcs: Annotated[
        int, whole(10, 100_000, "each holds some KiB; beyond it calls are refused, open waits included")
    ] = 1_000
    concurrent_streams: Annotated[int, whole(1, 10_000, "calls open at a time on one connection")] = 100
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
    listen: Annotated[Address, BeforeValidator(_address)] = Address("127.0.0.1", 8367)
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
        if not self.listen.loopback and (missing := self._missing_for_the_network()):
            raise PydanticCustomError(
                "tempolite",
                "an address that others can reach needs TLS and authentication; set {missing}",
                {"at": ("listen",), "missing": missing},
            )
        return self

    def _missing_for_the_network(self) -> str:
        missing = [] if self.tls else ["api.tls.certificate and api.tls.key"]
        if not self.authenticates and self.tokens_file is None:
            missing.append("api.tokens or api.tokens_file, or api.tls.client_ca and api.clients")
        return "; and ".join(missing)


# --- hosts


class HostsConfig(Section):
    """The child processes that run user code."""

    processes: Annotated[int, whole(1, 256, "each is a Python process with the handlers imported")] = 1
    max_parked: Annotated[int, whole(0, 1_000_000, "a parked stack costs some 15 to 30KiB")] = 2_000
    park_ttl_ms: Annotated[int, duration("1s", "365d", _LONG)] = 900_000
    ping_interval_ms: Annotated[int, duration("100ms", "5m", "how soon a hung host is noticed")] = 5_000
    ping_timeout_ms: Annotated[
        int, duration("500ms", "1h", "a handler that holds the GIL this long loses its host")
    ] = 30_000
    start_timeout_ms: Annotated[int, duration("1s", "1h", "importing the handlers takes its time")] = 60_000
    python_path: tuple[FilePath, ...] = ()  #: ahead of sys.path; the file's default is its own directory

    @model_validator(mode="after")
    def _timeout_after_interval(self) -> HostsConfig:
        if self.ping_timeout_ms < self.ping_interval_ms:
            raise PydanticCustomError("tempolite", "must be at least ping_interval", {"at": ("ping_timeout",)})
        return self


# --- pools


class RetryConfig(Section):
    """Unset fields take the next level's value: call, handler, pool, default."""

    maximum_attempts: Annotated[int, whole(0, 1_000_000, "0: no limit")] | None = None
    initial_interval_ms: Annotated[int, duration("1ms", "365d", _LONG)] | None = None
    backoff_coefficient: Annotated[float, number(1, 1_000, "below 1 the delays would shrink")] | None = None
    maximum_interval_ms: Annotated[int, duration("1ms", "365d", _LONG)] | None = None
    jitter: Annotated[float, number(0, 1, "the delay is drawn from 1 - jitter to 1 + jitter")] | None = None
    non_retryable_errors: tuple[_Name, ...] | None = None


_Timeout = Annotated[int, duration("1ms", "3650d", "longer than ten years is a mistake in the unit")]


class PoolConfig(Section):
    """Slots and defaults of one component."""

    workers: Annotated[int, whole(1, WORKERS_MAX, "each is a thread or task that runs user code")] = 1
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: _Timeout | None = None
    rate_limit: Annotated[float, number(0, 1_000_000, "starts per second; 0: no limit")] = 0.0


class ExecutionPoolConfig(PoolConfig):
    """Of the components whose work waits in a queue that clients fill."""

    max_duration_ms: _Timeout | None = None
    queue_timeout_ms: _Timeout | None = None
    queue_limit: Annotated[int, whole(0, 100_000_000, "executions that wait to start; 0: no limit")] = 0


class PoolsConfig(Section):
    handler: ExecutionPoolConfig = ExecutionPoolConfig()
    saga: ExecutionPoolConfig = ExecutionPoolConfig()
    compensation: PoolConfig = PoolConfig()
    side_effect: PoolConfig = PoolConfig()

    def of(self, component: Component) -> PoolConfig:
        match component:
            case Component.HANDLER:
                return self.handler
            case Component.SAGA:
                return self.saga
            case Component.COMPENSATION:
                return self.compensation
            case Component.SIDE_EFFECT:
                return self.side_effect

    def of_executions(self, component: Component) -> ExecutionPoolConfig:
        assert component in (Component.HANDLER, Component.SAGA), f"no executions in the {component} pool"
        return self.saga if component is Component.SAGA else self.handler


# --- handlers


class OperationConfig(Section):
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: _Timeout | None = None


def _params(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError) as error:
        raise ValueError("must be made of text, numbers, true, false, null, lists and mappings") from error


def _json_object(value: bytes) -> bytes:
    if not value.startswith(b"{"):
        raise ValueError("must be a mapping")
    return value


HANDLER_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,199}"
HANDLER_TARGET = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


class HandlerConfig(Section):
    """A handler that the node serves."""

    name: Annotated[str, text(HANDLER_NAME, "a letter, then up to 199 letters, digits and -_.")] = ""
    target: Annotated[str, text(HANDLER_TARGET, "module:function, e.g. shop.handlers:fulfil")]
    params: Annotated[bytes, BeforeValidator(_params), AfterValidator(_json_object)] = b"{}"  #: a JSON object
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: _Timeout | None = None
    max_duration_ms: _Timeout | None = None
    queue_timeout_ms: _Timeout | None = None
    heartbeat_timeout_ms: _Timeout | None = None
    priority: Annotated[int, whole(-PRIORITY_MAX, PRIORITY_MAX, "higher first; 0 is normal")] = 0
    isolation: Isolation = Isolation.SHARED
    max_crashes: Annotated[int, whole(1, 1_000, "each crash costs the other attempts of its host a restart")] = 5
    side_effect: OperationConfig = OperationConfig()
    compensation: OperationConfig = OperationConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_of_the_function(cls, value: object) -> object:
        if isinstance(value, Mapping) and not value.get("name") and isinstance(target := value.get("target"), str):
            return {**value, "name": target.rpartition(":")[2].rpartition(".")[2]}
        return value


# --- log


class LogConfig(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


# --- the whole


class Config(Section):
    node: NodeConfig
    api: ApiConfig = ApiConfig()
    hosts: HostsConfig = HostsConfig()
    pools: PoolsConfig = PoolsConfig()
    handlers: Annotated[tuple[HandlerConfig, ...], AT_LEAST_ONE]
    log: LogConfig = LogConfig()

    def handler(self, name: str) -> HandlerConfig | None:
        return next((handler for handler in self.handlers if handler.name == name), None)
