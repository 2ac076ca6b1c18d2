"""From the node's config to the replicated log's."""

from __future__ import annotations

from tempolite_node.config import Config, PeerTlsConfig
from tempolite_node.errors import StartError
from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.peering import PeerSecurity
from tempolite_node.log.raft.raft_log import RaftConfig
from tempolite_node.log.raft.timing import Limits

_SETTINGS_BYTES = 16 * 1024 * 1024


def raft_config(config: Config) -> RaftConfig:
    """Of a node that belongs to a cluster. StartError: the peers' certificates can't be read."""
    cluster = config.cluster
    assert cluster is not None, f"{config.node.id} belongs to no cluster"
    this = cluster.node(config.node.id)
    # Who starts the cluster must be the same to all who do. A newcomer asks everyone who may be there.
    asked = [node for node in cluster.nodes if (node.id != this.id if this.join else not node.join)]
    # A batch that is enqueued whole is one entry: its message, and the settings of each of its executions.
    entry_bytes_max = 2 * config.api.limits.message_bytes + _SETTINGS_BYTES
    return RaftConfig(
        cluster=cluster.name,
        node_id=this.id,
        listen=str(this.peers_listen),
        directory=config.node.data_dir,
        members=tuple(Member(node.id, str(node.peers)) for node in asked),
        join=this.join,
        security=None if cluster.tls is None else peer_security(cluster.tls),
        # The driver has one batch under way. The one before it may be applied, and still be counted.
        limits=Limits(entry_bytes_max=entry_bytes_max, proposals_bytes=2 * entry_bytes_max),
    )


def peer_security(tls: PeerTlsConfig) -> PeerSecurity:
    """StartError: a file can't be read."""
    try:
        return PeerSecurity(
            certificate=tls.certificate.read_bytes(), key=tls.key.read_bytes(), authority=tls.ca.read_bytes()
        )
    except OSError as error:
        raise StartError(f"can't read {error.filename}: {error.strerror}") from error
