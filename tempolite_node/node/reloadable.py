"""What a running node takes of a config that is read again: the list that `reload.py` goes through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempolite_node.api.server import ApiServer
from tempolite_node.config import Config
from tempolite_node.node.reload import Part, Prepared
from tempolite_node.tls import read_pems

if TYPE_CHECKING:
    from tempolite_node.log.raft.raft_log import RaftLog

#: Of a handler's entry: all but its name, target and params, with which its module was imported.
_OF_A_HANDLER = (
    "retry.*",
    "attempt_timeout",
    "max_duration",
    "queue_timeout",
    "max_operations",
    "max_journal_bytes",
    "heartbeat_timeout",
    "priority",
    "concurrency_key_limit",
    "isolation",
    "max_crashes",
    "side_effect.*",
    "compensation.*",
)


def log_level(set_level: Callable[[str], None]) -> Part:
    """Of the node; that of the worker hosts goes with the settings of the executions."""

    def prepare(running: Config, config: Config) -> Prepared | None:
        if running.log.level == config.log.level:
            return None

        async def apply() -> None:
            set_level(config.log.level)

        return Prepared(apply)

    return Part(("log.level",), prepare)


def callers(api: ApiServer) -> Part:
    """Tokens, those in their file too, and the roles of client certificates."""

    def prepare(running: Config, config: Config) -> Prepared | None:
        if (running.api.tokens, running.api.clients) == (config.api.tokens, config.api.clients):
            return None

        async def apply() -> None:
            api.admit_by(config.api)

        return Prepared(apply)

    return Part(("api.tokens*", "api.clients*"), prepare)


def api_certificates(api: ApiServer) -> Part:
    """What is in their files, whether or not that has another name."""

    def prepare(_running: Config, config: Config) -> Prepared | None:
        tls, certificates = config.api.tls, api.certificates
        if tls is None or certificates is None:
            return None
        pems = read_pems(certificate=tls.certificate, key=tls.key, authority=tls.client_ca)
        if pems == certificates.current:
            return None

        async def apply() -> None:
            certificates.replace(pems)

        return Prepared(apply, ("the certificates of api.tls",))

    return Part(("api.tls.certificate", "api.tls.key", "api.tls.client_ca"), prepare, _is_file_before_and_after)


def peer_certificates(raft: RaftLog) -> Part:
    """The same, between the nodes of a cluster."""
    from tempolite_node.node.raft_config import peer_security  # here, since a node that is alone loads no Raft

    def prepare(_running: Config, config: Config) -> Prepared | None:
        tls = None if config.cluster is None else config.cluster.tls
        if tls is None:
            return None
        security = peer_security(tls)
        if security == raft.security:
            return None

        async def apply() -> None:
            raft.trust(security)

        return Prepared(apply, ("the certificates of cluster.tls",))

    return Part(("cluster.tls.certificate", "cluster.tls.key", "cluster.tls.ca"), prepare, _is_file_before_and_after)


def _is_file_before_and_after(running: Any, read: Any) -> bool:
    """Whether clients must show a certificate can't change while the server listens."""
    return isinstance(running, Path) and isinstance(read, Path)


def executions(apply_to: Callable[[Config, Config], Awaitable[None]]) -> Part:
    """How executions are run: the pools, and the settings of handlers. What is enqueued already keeps its own.

    apply_to: from the running config to the new one.
    """

    def prepare(running: Config, config: Config) -> Prepared | None:
        before = (running.pools, running.handlers, running.log.level)
        if before == (config.pools, config.handlers, config.log.level):
            return None

        async def apply() -> None:
            await apply_to(running, config)

        return Prepared(apply)

    handlers = tuple(f"handlers.*.{setting}" for setting in _OF_A_HANDLER)
    return Part(("pools.*", "cluster.nodes.*.pools.*", *handlers), prepare)
