"""Who a peer is, and whether it may come in: the rules, apart from the sockets."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.errors import PeersUnsafe
from tempolite_node.tls import Pems

PROTOCOL = 1  #: raised when nodes of two versions can't be in one cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSecurity:
    """PEM. The certificate's name is the node's id; the authority is the cluster's own."""

    certificate: bytes
    key: bytes
    authority: bytes

    def pems(self) -> Pems:
        return Pems(certificate=self.certificate, key=self.key, authority=self.authority)


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first word of a connection."""

    protocol: int
    cluster: str
    node_id: str
    incarnation: int  #: of this start of the node
    target: str  #: whom it wants to speak with


class Refusal(Exception):
    """Why a connection is refused. The text goes to the peer, which shows it to its operator."""


class Stranger(Refusal):
    """Whoever asks is no member, or none any more."""


def check_hello(
    hello: Hello,
    *,
    cluster: str,
    node_id: str,
    known: Collection[str],
    names: Collection[str] | None,
) -> None:
    """Refusal: this node does not speak with who says so.

    names: those of the peer's certificate; None without TLS, where its word is taken.
    """
    if hello.protocol != PROTOCOL:
        raise Refusal(f"{node_id} speaks version {PROTOCOL} of the peers' protocol, {hello.node_id} {hello.protocol}")
    if hello.cluster != cluster:
        raise Refusal(f"{node_id} belongs to cluster {cluster!r}, {hello.node_id} to {hello.cluster!r}")
    if names is not None and hello.node_id not in names:
        raise Refusal(f"the certificate is for {', '.join(sorted(names)) or 'nobody'}, and not for {hello.node_id}")
    if hello.target != node_id:
        raise Refusal(f"this is {node_id}, and not {hello.target}: check the addresses of the members")
    if hello.node_id == node_id:
        raise Refusal(f"two nodes are named {node_id}: give each node an id of its own")
    if hello.node_id not in known:
        raise stranger(hello, cluster)


def stranger(hello: Hello, cluster: str) -> Stranger:
    return Stranger(f"{hello.node_id} is no member of cluster {cluster!r}: add it first")


def check_addresses(listen: str, members: Collection[Member], security: PeerSecurity | None) -> None:
    """PeersUnsafe: without TLS peers are only believed on this machine, for development."""
    if security is not None:
        return
    for address in [listen, *(member.address for member in members)]:
        if not is_loopback(address):
            raise PeersUnsafe(
                f"peers at {address} without TLS: set the certificate, key and authority of the cluster's peers,"
                " or use loopback addresses to try it out"
            )


def is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
