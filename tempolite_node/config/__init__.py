"""The node's config: one YAML file, validated whole before anything starts. It knows nothing of how it is used."""

from tempolite_node.config.load import load_config
from tempolite_node.config.model import (
    WORKERS_MAX,
    Address,
    ApiConfig,
    ClientConfig,
    Config,
    ExecutionPoolConfig,
    HandlerConfig,
    HostsConfig,
    LimitsConfig,
    LogConfig,
    NodeConfig,
    OperationConfig,
    PoolConfig,
    PoolsConfig,
    RetryConfig,
    Role,
    TlsConfig,
    TokenConfig,
)
from tempolite_node.errors import ConfigError

__all__ = [
    "WORKERS_MAX",
    "Address",
    "ApiConfig",
    "ClientConfig",
    "Config",
    "ConfigError",
    "ExecutionPoolConfig",
    "HandlerConfig",
    "HostsConfig",
    "LimitsConfig",
    "LogConfig",
    "NodeConfig",
    "OperationConfig",
    "PoolConfig",
    "PoolsConfig",
    "RetryConfig",
    "Role",
    "TlsConfig",
    "TokenConfig",
    "load_config",
]
