"""The handlers that an execution may be enqueued for, on whatever node, and the settings that a call then has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.engine.model import NodeState, ServedHandler
from tempolite_node.handlers.options import Resolved, resolve
from tempolite_node.protocol.messages import CallOptions
from tempolite_sdk.names import did_you_mean, listed
from tempolite_sdk.signatures import is_function

_NAMES_MAX = 10  #: of errors; what a call with more of them comes to is not kept


class HandlerCatalog:
    """Those of this node, and of the others as far as it has heard of them. May be asked from any thread."""

    def __init__(
        self, own: Sequence[ServedHandler], nodes: Callable[[], Mapping[str, NodeState]], *, in_cluster: bool
    ) -> None:
        """nodes: the nodes of the cluster; another mapping whenever one of them has changed."""
        self._own = own
        self._in_cluster = in_cluster
        self._nodes = nodes
        self._view = HandlersView(own, nodes())

    def replace_own(self, own: Sequence[ServedHandler]) -> None:
        """Other settings of this node's handlers, for calls from here on."""
        self._own = own
        self._view = HandlersView(own, self._nodes())

    def current(self) -> HandlersView:
        """As of now: another object once the nodes, or the settings, have changed."""
        nodes = self._nodes()
        if self._view.nodes is not nodes:
            self._view = HandlersView(self._own, nodes)
        return self._view

    def find(self, name: str, function: str = "") -> ServedHandler | Rejection:
        """The handler that a caller means, or why none is served.

        function: that the caller was given, as `tempolite_sdk.signatures.function_of` tells; "": it was given the name.
            The function says more than the name: what is served under another name is found.
        """
        return self.current().find(name, function)

    def signals_of(self, name: str) -> tuple[str, ...]:
        """Names of the signals that the handler declares; none: it takes any, as far as is known."""
        served = self.current().by_name.get(name)
        return () if served is None else served.signals

    @property
    def declares_signals(self) -> bool:
        """Whether any handler does."""
        return self.current().declares_signals

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        """How an execution of the handler is run."""
        return self._view.resolve(served, call)

    def waits_for_node(self, name: str) -> str:
        """Why no node can run the handler now; "" if one can. A node that is alone is up, or nobody asks it."""
        if not self._in_cluster:
            return ""
        serving = [node for node in self.current().nodes.values() if node.serves(name)]
        if any(node.takes_work for node in serving):
            return ""
        nodes = ", ".join(f"{node.id} ({'stopping' if node.live else 'down'})" for node in serving)
        return f"no node that serves {name} is up: {nodes}" if nodes else f"no node serves {name}"


class HandlersView:
    """As of one state of the nodes. From any thread."""

    def __init__(self, own: Sequence[ServedHandler], nodes: Mapping[str, NodeState]) -> None:
        self.nodes = nodes
        # Two nodes may have other settings for one handler: this node's own go first, then those of a live one.
        others = sorted(nodes.values(), key=lambda node: (not node.live, node.id))
        ranked = [*own, *(served for node in others for served in node.handlers)]
        self.by_name = {served.name: served for served in reversed(ranked)}
        self.declares_signals = any(served.signals for served in self.by_name.values())
        # Nodes that are deployed one after the other may have moved a function meanwhile: each of its places will do.
        self._functions: defaultdict[str, set[str]] = defaultdict(set)
        for served in ranked:
            self._functions[served.name].add(served.function)
        #: See `HandlerCatalog.find`. Calls ask for the same few, thousands of times a second.
        self.find: Callable[[str, str], ServedHandler | Rejection] = lru_cache(maxsize=1024)(self._find)
        self._resolve = lru_cache(maxsize=1024)(self._resolved)

    def _find(self, name: str, function: str) -> ServedHandler | Rejection:
        served = self.by_name.get(name)
        if served is not None and (not function or self._may_be(name, function)):
            return served
        if not function:
            told = f"no node serves handler {name!r}, but {listed(self.by_name)}{did_you_mean(name, self.by_name)}"
            return Rejection(Reason.NOT_FOUND, told)
        names = self._names_of(function)
        if len(names) == 1:
            return self.by_name[names[0]]
        return Rejection(Reason.NOT_FOUND, _not_the_function(name, function, served, names))

    def _may_be(self, name: str, function: str) -> bool:
        """Whether the handler of that name is the function, as far as the nodes that serve it tell."""
        known = self._functions[name]
        return function in known or any(not each or is_function(function, each) for each in known)

    def _names_of(self, function: str) -> list[str]:
        """Under which the function is served."""
        return sorted(name for name, known in self._functions.items() if any(is_function(function, k) for k in known))

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        """Most calls of a handler set the same, and little of it."""
        known = self.by_name.get(served.name) is served and len(call.non_retryable_errors or ()) <= _NAMES_MAX
        return self._resolve(served.name, call) if known else resolve(served, call)

    def _resolved(self, name: str, call: CallOptions) -> Resolved:
        return resolve(self.by_name[name], call)


def _not_the_function(name: str, function: str, served: ServedHandler | None, names: Sequence[str]) -> str:
    """names: under which the function is served, none or several."""
    if names:
        return f"{function} is served as {listed(names)}: enqueue it by one of these names"
    if served is None:
        return f"no node serves {function}, nor any handler {name!r}"
    return f"no node serves {function}: handler {name!r} is {served.function}; if you mean that one, enqueue it by name"
