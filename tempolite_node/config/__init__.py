"""The node's config: one YAML file, validated whole before anything starts.

It must not know how a setting is used.
"""

from tempolite_node.config.cluster import ClusterConfig, ClusterNodeConfig, PeerTlsConfig
from tempolite_node.config.load import handler_problem, load_config, source_of
from tempolite_node.config.model import (
    ApiConfig,
    ClientConfig,
    Config,
    HandlerConfig,
    HostsConfig,
    LimitsConfig,
    LogConfig,
    NodeConfig,
    OperationConfig,
    TlsConfig,
    TokenConfig,
)
from tempolite_node.config.pools import WORKERS_MAX, ExecutionPoolConfig, PoolConfig, PoolsConfig, RetryConfig
from tempolite_node.config.section import Address
from tempolite_node.config.source import Source
from tempolite_node.errors import ConfigError
from tempolite_node.roles import Role

__all__ = [
    "WORKERS_MAX",
    "Address",
    "ApiConfig",
    "ClientConfig",
    "ClusterConfig",
    "ClusterNodeConfig",
    "Config",
    "ConfigError",
    "ExecutionPoolConfig",
    "HandlerConfig",
    "HostsConfig",
    "LimitsConfig",
    "LogConfig",
    "NodeConfig",
    "OperationConfig",
    "PeerTlsConfig",
    "PoolConfig",
    "PoolsConfig",
    "RetryConfig",
    "Role",
    "Source",
    "TlsConfig",
    "TokenConfig",
    "handler_problem",
    "load_config",
    "source_of",
]
