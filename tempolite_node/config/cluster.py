"""The cluster, as every one of its nodes is told of it: one file for all, in which only `node.id` differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from tempolite_node.config.bounds import AT_LEAST_ONE, FilePath, duration
from tempolite_node.config.pools import PoolsConfig
from tempolite_node.config.section import Address, HostPort, NodeId, Section, parse_address

S = TypeVar("S", bound=Section)

API_DEFAULT = Address("127.0.0.1", 8367)


class PeerTlsConfig(Section):
    """Of this node towards the others, in both directions. The certificate's name is the node's id."""

    certificate: FilePath
    key: FilePath
    ca: FilePath  #: the cluster's own authority: whoever has a certificate of it may be a node


class ClusterNodeConfig(Section):
    """What is not in the file is filled in from the rest of it before this is made."""

    id: NodeId
    peers: HostPort  #: where the other nodes reach it
    peers_listen: HostPort  #: what it listens on for them; in the file, default: peers
    listen: HostPort  #: of the API; in the file, default: api.listen
    advertise: HostPort  #: where clients reach the API; in the file, default: listen
    handlers: tuple[str, ...]  #: which it serves; in the file, default: all
    pools: PoolsConfig = PoolsConfig()  #: what it sets goes before the pools of all nodes
    join: bool = False  #: it is added to a cluster that runs, and does not help to start one


class ClusterConfig(Section):
    name: NodeId
    node_timeout_ms: Annotated[
        int, duration("1s", "1h", "a node that is silent for so long is declared dead, and its work goes elsewhere")
    ] = 5_000
    write_timeout_ms: Annotated[
        int, duration("100ms", "5m", "how long a write waits for a majority before it is told to be unavailable")
    ] = 5_000
    tls: PeerTlsConfig | None = None  #: None: on loopback addresses only
    nodes: Annotated[tuple[ClusterNodeConfig, ...], AT_LEAST_ONE]

    def node(self, node_id: str) -> ClusterNodeConfig:
        return next(node for node in self.nodes if node.id == node_id)


def overridden(base: S, override: S) -> S:
    """`base` with what `override` sets itself, setting by setting."""
    changes: dict[str, Any] = {}
    for name in override.model_fields_set:
        ours, theirs = getattr(base, name), getattr(override, name)
        changes[name] = overridden(ours, theirs) if isinstance(theirs, Section) else theirs
    return base.model_copy(update=changes)


# --- what a node's entry leaves out


def completed(config: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The config as read, with the entries of the cluster's nodes filled in. What is malformed stays as it is."""
    cluster = config.get("cluster")
    nodes = cluster.get("nodes") if isinstance(cluster, Mapping) else None
    if not isinstance(cluster, Mapping) or not isinstance(nodes, list | tuple):
        return config
    api = config.get("api")
    listen = _address(api.get("listen") if isinstance(api, Mapping) else None, API_DEFAULT)
    filled = [_filled(node, listen, handler_names(config)) if isinstance(node, Mapping) else node for node in nodes]
    return {**config, "cluster": {**cluster, "nodes": filled}}


_UNKNOWN = Address("localhost", 1)  #: in the place of an address that is a mistake, which is told once


def _filled(node: Mapping[Any, Any], api_listen: Address, handlers: tuple[str, ...]) -> dict[Any, Any]:
    listen = _address(node.get("listen"), api_listen)
    defaults = {
        "peers_listen": _address(node.get("peers"), _UNKNOWN),
        "listen": listen,
        "advertise": listen,
        "handlers": handlers,
    }
    return {**defaults, **node}


def _address(value: object, default: Address) -> Address:
    if isinstance(value, Address):
        return value
    try:
        return parse_address(value) if isinstance(value, str) else default
    except ValueError:
        return default


def handler_names(config: Mapping[Any, Any]) -> tuple[str, ...]:
    """In the order of the list; "" for one that is malformed."""
    handlers = config.get("handlers")
    return tuple(handler_name(handler) for handler in (handlers if isinstance(handlers, list | tuple) else ()))


def handler_name(handler: object) -> str:
    """Its own, or its function's."""
    if not isinstance(handler, Mapping):
        return ""
    return str(handler.get("name") or str(handler.get("target", "")).rpartition(":")[2].rpartition(".")[2])
