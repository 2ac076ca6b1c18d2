"""A network between nodes that each have a network namespace: the packets themselves are lost, or late.

Each namespace has one interface, a TUN device. What is sent through it is read here, packet by packet, and passed on to
the namespace that it is for, or not: in each direction by itself. Nodes see what a bad network shows them: silence, and
a TCP that tries again. Compared with a bridge, netem and a packet filter this needs nothing but the rights, no package
and no module of the kernel. And nothing is left behind, however the tests end: namespaces and interfaces last as long
as this process has them open or a node lives in them, and the nodes die with this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import heapq
import os
import random
import select
import shutil
import socket
import struct
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from .cluster import Node

_CLONE_NEWNET = 0x40000000
_TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
_IFF_UP = 0x1
_ADDRESSES = 16  #: of one network
_MASK = 2**32 - _ADDRESSES
_FIRST = int.from_bytes(socket.inet_aton("198.18.0.0"))  #: of a range that is set aside for tests of networks
_NETWORKS = 2**17 // _ADDRESSES
_PACKET_MAX = 65_536

_libc = ctypes.CDLL(None, use_errno=True)


class NotPermitted(Exception):
    """There can be no namespaces here; with the reason, and what they need."""


class Namespaces:
    """One for each node, and the test's own, from which all of them can be reached, whatever is cut."""

    def __init__(self, node_ids: Collection[str]) -> None:
        assert len(node_ids) <= _ADDRESSES - 3, "each needs an address"
        for command in ("nsenter", "setpriv"):
            if shutil.which(command) is None:
                raise NotPermitted(f"{command} is missing; it is in the package util-linux")
        with contextlib.ExitStack() as opened:
            own, network = _plug_in_test()
            opened.callback(os.close, own)
            self._devices = {network + 1: own}  #: by address
            self._names: dict[int, str] = {}
            self._namespaces: dict[str, int] = {}
            for address, node_id in enumerate(node_ids, start=network + 2):
                self._devices[address], self._namespaces[node_id] = opened.enter_context(_new_namespace(address))
                self._names[address] = node_id
            self._opened = opened.pop_all()
        self.addresses = {node_id: _written(address) for address, node_id in self._names.items()}
        self._lost: dict[tuple[str, str], float] = {}
        self._delay_s: dict[str, float] = {}
        self._chance = random.Random(0)
        self._late: list[tuple[float, int, int, bytes]] = []
        self._numbers = count()
        self._hung_up, self._hang_up = os.pipe()
        self._router = threading.Thread(target=self._route, daemon=True, name="network")
        self._router.start()

    def entry_command(self, node_id: str) -> tuple[str, ...]:
        """What is put before a command to have it run in the namespace of the node, no longer than this process."""
        namespace = f"/proc/{os.getpid()}/fd/{self._namespaces[node_id]}"
        return "nsenter", f"--net={namespace}", "setpriv", "--pdeathsig", "KILL"

    def close(self) -> None:
        os.close(self._hang_up)
        self._router.join()
        os.close(self._hung_up)
        self._opened.close()

    # --- what a test does to it

    def lose(self, from_: Node, to: Node, share: float = 1.0) -> None:
        """So much of what one sends to the other is lost on the way."""
        self._lost[from_.id, to.id] = share

    def cut_off(self, node: Node, others: Iterable[Node]) -> None:
        """Everything, in both directions."""
        for other in others:
            self.lose(node, other)
            self.lose(other, node)

    def slow_down(self, node: Node, delay_s: float) -> None:
        """What the node sends to other nodes, and they to it, takes so long."""
        self._delay_s[node.id] = delay_s

    def heal(self) -> None:
        self._lost.clear()
        self._delay_s.clear()

    # --- in a thread of its own

    def _route(self) -> None:
        while True:
            wait_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            ready, _, _ = select.select([self._hung_up, *self._devices.values()], [], [], wait_s)
            if self._hung_up in ready:
                return
            for device in ready:
                for packet in _waiting(device):
                    self._pass_on(packet)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(self._late)
                self._deliver(to, packet)

    def _pass_on(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:
            return  # what the kernel says by IPv6 to whoever is there
        source, to = (int.from_bytes(packet[place : place + 4]) for place in (12, 16))
        if source not in self._names or to not in self._names:
            self._deliver(to, packet)
            return
        between = self._names[source], self._names[to]
        share = self._lost.get(between, 0.0)
        if share and self._chance.random() < share:
            return
        delay_s = max(self._delay_s.get(name, 0.0) for name in between)
        heapq.heappush(self._late, (time.monotonic() + delay_s, next(self._numbers), to, packet))

    def _deliver(self, to: int, packet: bytes) -> None:
        device = self._devices.get(to)
        if device is not None:
            with contextlib.suppress(OSError):  # lost, like any packet may be
                os.write(device, packet)


def _waiting(device: int) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield os.read(device, _PACKET_MAX)


# --- interfaces and namespaces


def _written(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4))


def _plug_in_test() -> tuple[int, int]:
    """The device of an interface of the test's own; in a network that no other run of tests has, with its address."""
    for attempt in range(_NETWORKS):
        number = (os.getpid() + attempt) % _NETWORKS
        network = _FIRST + number * _ADDRESSES
        try:
            return _plug_in(f"tempolite{number}", network + 1), network
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise _not_permitted(error) from error
    raise NotPermitted("all networks are taken")


@contextlib.contextmanager
def _new_namespace(address: int) -> Iterator[tuple[int, int]]:
    """The device of the interface in it, and the namespace: open, and there no more when they are closed."""

    def go_there() -> tuple[int, int]:
        """A namespace belongs to a thread: one goes there, and leaves it open for others."""
        if _libc.unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"unshare: {os.strerror(number)}")
        _set_up("lo")
        return _plug_in("eth0", address), os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    with ThreadPoolExecutor(1) as thread:
        try:
            device, namespace = thread.submit(go_there).result()
        except OSError as error:
            raise _not_permitted(error) from error
    try:
        yield device, namespace
    finally:
        os.close(device)
        os.close(namespace)


def _plug_in(name: str, address: int) -> int:
    """The device of a new interface in the namespace of this thread. It lasts as long as that is open."""
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_WITHOUT_HEADER))
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, _MASK)):
            _configure(request, struct.pack("16sH2x4s16x", name.encode(), socket.AF_INET, value.to_bytes(4)))
        _set_up(name)
    except BaseException:
        os.close(device)
        raise
    return device


def _set_up(name: str) -> None:
    _configure(_SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), _IFF_UP))


def _configure(request: int, interface: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, interface)


def _not_permitted(error: OSError) -> NotPermitted:
    return NotPermitted(
        f"network namespaces are not permitted here: {error}; they need CAP_SYS_ADMIN and CAP_NET_ADMIN"
        f" (as root, in Docker: --privileged) and {_TUN}"
    )
