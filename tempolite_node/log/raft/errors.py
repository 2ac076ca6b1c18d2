"""What goes wrong in the replicated log, by what may be done about it."""

from __future__ import annotations

from tempolite_node.errors import NodeError, StartError, StorageFailed


class LogStoreUnusable(StartError):
    """The journal can't be opened: foreign, of another node, in use, or its contents contradict themselves."""


class LogStoreFailed(StorageFailed):
    """A write of the journal failed. Nothing that depends on it has left the node, and the node must stop."""


class RaftBroken(NodeError):
    """What must never happen did: two leaders of a term, a committed entry contradicted. The node must stop."""


class EntryTooLarge(NodeError):
    """The entry has more bytes than an entry may have. Nothing was stored."""


class BadMessage(NodeError):
    """Bytes of a peer that are no message, or too many. The connection is closed; the node goes on."""


class PeersUnsafe(StartError):
    """The peers' addresses or certificates don't allow a connection that can be trusted."""
