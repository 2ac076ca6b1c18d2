"""The handlers that an execution may be enqueued for, on whatever node, and the settings that a call then has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from tempolite_node.engine.model import NodeState, ServedHandler
from tempolite_node.handlers.options import Resolved, resolve
from tempolite_node.protocol.messages import CallOptions


class HandlerCatalog:
    """Those of this node, and of the others as far as it has heard of them. May be asked from any thread."""

    def __init__(
        self, own: Sequence[ServedHandler], nodes: Callable[[], Mapping[str, NodeState]], *, in_cluster: bool
    ) -> None:
        """nodes: the nodes of the cluster; another mapping whenever one of them has changed."""
        self._own = own
        self._in_cluster = in_cluster
        self._nodes = nodes
        self._view = _View(own, nodes())

    def replace_own(self, own: Sequence[ServedHandler]) -> None:
        """Other settings of this node's handlers, for calls from here on."""
        self._own = own
        self._view = _View(own, self._nodes())

    def _current(self) -> _View:
        nodes = self._nodes()
        if self._view.nodes is not nodes:
            self._view = _View(self._own, nodes)
        return self._view

    def get(self, name: str) -> ServedHandler | None:
        return self._current().by_name.get(name)

    def names(self) -> list[str]:
        return sorted(self._current().by_name)

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        """How an execution of the handler is run."""
        return self._view.resolve(served, call)

    def waits_for_node(self, name: str) -> str:
        """Why no node can run the handler now; "" if one can. A node that is alone is up, or nobody asks it."""
        if not self._in_cluster:
            return ""
        serving = [node for node in self._current().nodes.values() if node.serves(name)]
        if any(node.takes_work for node in serving):
            return ""
        nodes = ", ".join(f"{node.id} ({'stopping' if node.live else 'down'})" for node in serving)
        return f"no node that serves {name} is up: {nodes}" if nodes else f"no node serves {name}"


class _View:
    """As of one state of the nodes."""

    def __init__(self, own: Sequence[ServedHandler], nodes: Mapping[str, NodeState]) -> None:
        self.nodes = nodes
        # Two nodes may have other settings for one handler: this node's own go first, then those of a live one.
        others = sorted(nodes.values(), key=lambda node: (not node.live, node.id))
        ranked = [*own, *(served for node in others for served in node.handlers)]
        self.by_name = {served.name: served for served in reversed(ranked)}
        self._resolve = lru_cache(maxsize=1024)(self._resolved)

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        """Most calls of a handler set the same."""
        return self._resolve(served.name, call) if self.by_name.get(served.name) is served else resolve(served, call)

    def _resolved(self, name: str, call: CallOptions) -> Resolved:
        return resolve(self.by_name[name], call)
