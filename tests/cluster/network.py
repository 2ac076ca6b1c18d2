"""The network between the nodes of a cluster, which can be cut and slowed down, in each direction by itself.

A node sends what it has to say to another one over a connection that it has opened itself. Each passes through here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.daemon import PATIENCE_S

from .cluster import Cluster, Node


class Network:
    """Listens where the nodes are said to be, and passes on what it hears to where they are."""

    def __init__(self, cluster: Cluster) -> None:
        """cluster: not started; the entry of each node has `peers_listen`."""
        self._cluster = cluster
        self._changed = threading.Condition()
        self._cut: set[tuple[str, str]] = set()
        self._delay_s: dict[str, float] = {}
        self._closed = False
        self._sockets: list[socket.socket] = []
        for node_id, entry in cluster.entries.items():
            listener = socket.create_server(_address(entry["peers"]), backlog=50)
            self._sockets.append(listener)
            threading.Thread(target=self._listen, args=(listener, node_id), daemon=True).start()

    # --- what a test does to it

    def cut(self, from_: Node, to: Node) -> None:
        """Nothing that one says reaches the other, and nothing is lost on the way either: it waits, as in TCP."""
        with self._changed:
            self._cut.add((from_.id, to.id))

    def cut_off(self, node: Node, others: Iterable[Node]) -> None:
        """In both directions."""
        for other in others:
            self.cut(node, other)
            self.cut(other, node)

    def slow_down(self, node: Node, delay_s: float) -> None:
        """Whatever the node says or hears comes later."""
        self._delay_s[node.id] = delay_s

    def heal(self) -> None:
        with self._changed:
            self._cut.clear()
            self._delay_s.clear()
            self._changed.notify_all()

    def close(self) -> None:
        self._closed = True
        self.heal()
        for each in self._sockets:
            each.close()

    # --- in threads of its own

    def _listen(self, listener: socket.socket, to: str) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, (_, port) = listener.accept()
                threading.Thread(target=self._connect, args=(connection, port, to), daemon=True).start()

    def _connect(self, connection: socket.socket, port: int, to: str) -> None:
        from_ = self._who_has(port)
        try:
            onward = socket.create_connection(_address(self._cluster.entries[to]["peers_listen"]), timeout=PATIENCE_S)
        except OSError:
            connection.close()
            return
        onward.settimeout(None)
        self._sockets += [connection, onward]
        for source, target in ((connection, onward), (onward, connection)):
            threading.Thread(target=self._pass_on, args=(source, target, from_, to), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_: str, to: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(max(self._delay_s.get(from_, 0.0), self._delay_s.get(to, 0.0)))
                with self._changed:
                    self._changed.wait_for(lambda: (from_, to) not in self._cut or self._closed)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _who_has(self, port: int) -> str:
        """The node whose process has the connection with this local port; "": none, or it is gone by now."""
        local = f"0100007F:{port:04X}"  # which gRPC has as a socket of IPv6, mapped
        rows = [
            line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()
        ]
        inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(local)}
        for node in self._cluster.nodes.values():
            if node.running and inodes & _open_files(node.pid):
                return node.id
        return ""


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(file))
    return found


def _address(text: str) -> tuple[str, int]:
    host, port = text.rsplit(":", 1)
    return host, int(port)
