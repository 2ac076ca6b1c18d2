"""Certificates of the peers of a cluster that change while the nodes run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tempolite_node.cli.certificates import make_certificates
from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.messages import AnyMessage
from tempolite_node.log.raft.peering import PeerSecurity
from tempolite_node.log.raft.timing import Limits
from tempolite_node.log.raft.transport import PeeringConfig, Transport

PATIENCE_S = 60


class Inbox:
    """Who is connected, of the peers that a node sends to."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._connected: set[str] = set()

    def peer_connected(self, peer: str) -> None:
        with self._changed:
            self._connected.add(peer)
            self._changed.notify_all()

    def peer_disconnected(self, peer: str) -> None:
        with self._changed:
            self._connected.discard(peer)
            self._changed.notify_all()

    def peer_said(self, peer: str, messages: list[AnyMessage]) -> None:
        raise AssertionError(f"{peer} says {messages}")

    def peer_asked(self, peer: str, question: bytes) -> bytes:
        raise AssertionError(f"{peer} asks {question!r}")

    def until(self, *peers: str) -> None:
        with self._changed:
            seen = self._changed.wait_for(lambda: self._connected == set(peers), PATIENCE_S)
        assert seen, f"connected are {self._connected}"


def security(directory: Path, node_id: str, *trusted: Path) -> PeerSecurity:
    """A certificate of one directory; the authorities trusted are those of others, or its own."""
    return PeerSecurity(
        certificate=(directory / f"peer-{node_id}.pem").read_bytes(),
        key=(directory / f"peer-{node_id}.key").read_bytes(),
        authority=b"".join((each / "ca.pem").read_bytes() for each in trusted or (directory,)),
    )


class Peer:
    def __init__(self, node_id: str, certificates: Path, *trusted: Path) -> None:
        self.id = node_id
        self.inbox = Inbox()
        self.transport = Transport(
            PeeringConfig(
                cluster="shop",
                node_id=node_id,
                listen="127.0.0.1:0",
                incarnation=hash((node_id, certificates)),
                security=security(certificates, node_id, *trusted),
                limits=Limits(),
            ),
            self.inbox,
        )
        self.transport.start()

    def meet(self, other: Peer) -> None:
        self.transport.learn_addresses((Member(other.id, f"127.0.0.1:{other.transport.port}"),))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return certificates_in(tmp_path / "before")


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return certificates_in(tmp_path / "after")


def certificates_in(directory: Path) -> Path:
    """Of an authority of their own."""
    make_certificates(directory, hosts=["localhost"], clients=[], peers=["a", "b", "c"])
    return directory


def test_peers_connect_again_with_the_certificates_as_they_are_now(before: Path, after: Path, stack: ExitStack) -> None:
    a, b, c = Peer("a", before), Peer("b", before), Peer("c", after)
    for peer in (a, b, c):
        stack.callback(peer.transport.stop)
    a.meet(b)
    b.meet(a)
    a.inbox.until("b")
    b.inbox.until("a")
    a.meet(c)
    c.meet(a)

    a.transport.trust(security(after, "a"))

    a.inbox.until("b", "c")  # b: the connection that was there
    c.inbox.until("a")


def test_who_trusts_two_authorities_speaks_with_peers_of_either(before: Path, after: Path, stack: ExitStack) -> None:
    """So that a cluster can change its authority node by node."""
    a, b, c = Peer("a", before, before), Peer("b", before, before, after), Peer("c", after, before, after)
    for peer in (a, b, c):
        stack.callback(peer.transport.stop)
    for one, other in ((a, b), (b, a), (b, c), (c, b)):
        one.meet(other)

    b.inbox.until("a", "c")

    a.transport.trust(security(before, "a", before, after))
    a.meet(c)
    c.meet(a)
    a.inbox.until("b", "c")
