"""What must hold between the settings of a cluster.

It is looked for in the values as read, so that no other mistake hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tempolite_node.config.cluster import API_DEFAULT, handler_names
from tempolite_node.config.section import Address, parse_address
from tempolite_node.config.source import Location, Source, dotted
from tempolite_node.errors import Problem
from tempolite_sdk.names import did_you_mean


class _Node(NamedTuple):
    """An entry of cluster.nodes."""

    at: Location
    written: Mapping[Any, Any]


def cluster_problems(source: Source) -> list[Problem]:
    config = source.value
    cluster = config.get("cluster") if isinstance(config, Mapping) else None
    entries = cluster.get("nodes") if isinstance(cluster, Mapping) else None
    if not isinstance(cluster, Mapping) or not isinstance(entries, list):
        return []
    nodes = [_Node(("cluster", "nodes", n), node) for n, node in enumerate(entries) if isinstance(node, Mapping)]
    return [
        *_stranger(source, nodes),
        *_repeats(source, nodes, "id", lambda node: node.written.get("id")),
        *_repeats(source, nodes, "peers", lambda node: _address(node.written.get("peers"))),
        *_repeats(source, nodes, "advertise", lambda node: _api_address(config, node)),
        *_addresses_nobody_can_call(source, nodes),
        *(_peers_without_tls(source, nodes) if cluster.get("tls") is None else ()),
        *_unknown_handlers(source, nodes),
        *_handlers_without_a_node(source, nodes),
    ]


def _stranger(source: Source, nodes: list[_Node]) -> Iterator[Problem]:
    node = source.value.get("node")
    node_id = node.get("id") if isinstance(node, Mapping) else None
    ids = list(dict.fromkeys(str(each.written["id"]) for each in nodes if each.written.get("id")))
    if isinstance(node_id, str) and node_id and ids and node_id not in ids:
        yield source.problem(("node", "id"), f"is not in cluster.nodes, which has {', '.join(ids)}")


def _repeats(source: Source, nodes: list[_Node], name: str, value_of: Callable[[_Node], object]) -> Iterator[Problem]:
    first: dict[object, Location] = {}
    for node in nodes:
        value = value_of(node)
        if value and value in first:
            yield source.problem((*node.at, name), f"is that of {dotted(first[value])} too")
        elif isinstance(value, str | Address):
            first[value] = node.at


def _addresses_nobody_can_call(source: Source, nodes: list[_Node]) -> Iterator[Problem]:
    """They must mean the same to everyone, and still do after a restart."""
    for node in nodes:
        peers = _address(node.written.get("peers"))
        if peers is not None and (peers.wildcard or not peers.port):
            message = "must be where the other nodes reach this one; set peers_listen to listen elsewhere"
            yield source.problem((*node.at, "peers"), message)
        api = _api_address(source.value, node)
        if api is not None and (api.wildcard or not api.port):
            yield source.problem((*node.at, "advertise"), "must be set to where clients reach this node")


def _peers_without_tls(source: Source, nodes: list[_Node]) -> Iterator[Problem]:
    for node in nodes:
        for name in ("peers", "peers_listen"):
            address = _address(node.written.get(name))
            if address is not None and not address.loopback:
                message = "an address that others can reach needs mutual TLS between the nodes; set cluster.tls"
                yield source.problem((*node.at, name), message)


def _unknown_handlers(source: Source, nodes: list[_Node]) -> Iterator[Problem]:
    known = [name for name in handler_names(source.value) if name]
    for node in nodes:
        handlers = node.written.get("handlers")
        if handlers == []:
            yield source.problem((*node.at, "handlers"), "needs at least one entry; without the key it serves all")
        for index, name in enumerate(handlers if isinstance(handlers, list) else ()):
            if isinstance(name, str) and name and name not in known:
                hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
                yield source.problem((*node.at, "handlers", index), f"is not the name of a handler{hint}")


def _handlers_without_a_node(source: Source, nodes: list[_Node]) -> Iterator[Problem]:
    served: set[object] = set()
    for node in nodes:
        names = node.written.get("handlers")
        if not isinstance(names, list):
            return  # it serves all
        served.update(name for name in names if isinstance(name, str))
    for index, handler in enumerate(handler_names(source.value)):
        if nodes and handler and handler not in served:
            yield source.problem(("handlers", index), "is served by no node; see cluster.nodes[].handlers")


def _address(value: object) -> Address | None:
    """None: it is not there, or malformed, which is told elsewhere."""
    try:
        return parse_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _api_address(config: Mapping[Any, Any], node: _Node) -> Address | None:
    """Where clients reach the node."""
    api = config.get("api")
    of_all = api.get("listen") if isinstance(api, Mapping) else None
    written = (node.written.get("advertise"), node.written.get("listen"), of_all)
    return next((_address(value) for value in written if value is not None), API_DEFAULT)
