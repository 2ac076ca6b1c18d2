"""Messages between nodes, over gRPC streams with mutual TLS.

A node opens one stream to each peer and only sends on it; what it receives comes on the streams that peers open to it.
A stream begins with a Hello, answered by a welcome or refused with the reason. Beside the log, a node may ask a peer
something and is answered: bytes that mean nothing here, between nodes that would let each other in.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

import grpc
import msgspec

from tempolite_node.errors import NodeError, StartError
from tempolite_node.log.raft import codec
from tempolite_node.log.raft.entries import UNDECODABLE, Member, Members
from tempolite_node.log.raft.errors import BadMessage
from tempolite_node.log.raft.messages import AnyMessage
from tempolite_node.log.raft.peering import (
    PROTOCOL,
    Hello,
    PeerSecurity,
    Refusal,
    Stranger,
    check_addresses,
    check_hello,
    is_loopback,
    stranger,
)
from tempolite_node.log.raft.timing import Limits
from tempolite_node.tls import Pems, ServerCertificates

logger = logging.getLogger(__name__)

_SERVICE = "tempolite.internal.v1.Peers"
_METHOD = "Connect"
_ASK = "Ask"
_HELLO = "tempolite-hello-bin"
_WELCOME = b"\x01"
_RETRY_S = 0.25
_STREAMS_MAX = 64
_hello_decoder = msgspec.msgpack.Decoder(Hello)


class Receiver(Protocol):
    """The raft thread's inbox. Called from threads of gRPC."""

    def peer_connected(self, peer: str) -> None: ...

    def peer_disconnected(self, peer: str) -> None: ...

    def peer_said(self, peer: str, messages: list[AnyMessage]) -> None: ...

    def peer_asked(self, peer: str, question: bytes) -> bytes:
        """May take its time."""
        ...


class NotAnswered(NodeError):
    """The peer is not connected, does not answer in time, or failed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeeringConfig:
    cluster: str
    node_id: str
    listen: str  #: "host:port" of the peers' port
    incarnation: int
    security: PeerSecurity | None
    limits: Limits

    def hello(self, target: str) -> bytes:
        return msgspec.msgpack.encode(Hello(PROTOCOL, self.cluster, self.node_id, self.incarnation, target))

    def options(self) -> list[tuple[str, int]]:
        size = self.limits.frame_bytes_max
        return [
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.max_metadata_size", 8 * 1024),
            ("grpc.so_reuseport", 0),
            # A machine that is gone without a word is noticed within 8 s; elections do not wait for that.
            ("grpc.keepalive_time_ms", 5_000),
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 4_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1_000),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.server_handshake_timeout_ms", 5_000),
        ]


class Transport:
    def __init__(self, config: PeeringConfig, receiver: Receiver) -> None:
        self._config = config
        self._certificates = None if config.security is None else ServerCertificates(config.security.pems())
        self._links = _Links(config, receiver, self._certificates)
        self._listener = _Listener(config, receiver, self._links.known, self._certificates)

    def start(self) -> None:
        """StartError: the address can't be used. PeersUnsafe: no TLS, and more than this machine is involved."""
        check_addresses(self._config.listen, (), self._config.security)
        self._listener.start()

    @property
    def port(self) -> int:
        return self._listener.port

    def trust(self, security: PeerSecurity) -> None:
        """Connections that are made from now on are made with these certificates. By any thread, with TLS alone."""
        assert self._certificates is not None, "TLS between peers can't come or go"
        self._certificates.replace(security.pems())

    def send(self, peer: str, message: AnyMessage) -> None:
        self._links.send(peer, message)

    def learn_addresses(self, members: Members) -> None:
        self._links.learn(members)

    def forget(self, peers: Collection[str]) -> None:
        self._links.forget(peers)

    def ask(self, peer: str, question: bytes, timeout_s: float) -> bytes:
        """NotAnswered: see there. Blocks."""
        return self._links.ask(peer, question, timeout_s)

    def strangers(self) -> set[str]:
        """Peers that say that this node is no member of the cluster."""
        return self._links.strangers()

    def refusals(self) -> dict[str, str]:
        """By peer: why it does not let this node in, or is not let in itself."""
        refusals = self._links.refusals()
        for peer, reason in self._listener.refusals().items():
            refusals[peer] = f"{refusals[peer]}; {reason}" if peer in refusals else reason
        return refusals

    def stop(self) -> None:
        self._links.stop()
        self._listener.stop()


# --- to peers


class _Links:
    """One link per peer whose address is known. `send` and `learn` belong to the raft thread."""

    def __init__(self, config: PeeringConfig, receiver: Receiver, certificates: ServerCertificates | None) -> None:
        self._config = config
        self._receiver = receiver
        self._certificates = certificates
        self._links: dict[str, _Link] = {}
        self._unsafe: dict[str, str] = {}

    def known(self) -> set[str]:
        return set(self._links)

    def send(self, peer: str, message: AnyMessage) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.send(message)

    def ask(self, peer: str, question: bytes, timeout_s: float) -> bytes:
        link = self._links.get(peer)
        if link is None:
            raise NotAnswered(f"{peer} is not known")
        return link.ask(question, timeout_s)

    def strangers(self) -> set[str]:
        return {peer for peer, link in self._links.items() if link.is_stranger}

    def learn(self, members: Members) -> None:
        for member in members:
            if member.node_id == self._config.node_id:
                continue
            link = self._links.get(member.node_id)
            if link is not None and link.address == member.address:
                continue
            if link is not None:
                link.stop()
            self._open(member)

    def forget(self, peers: Collection[str]) -> None:
        for peer in peers:
            if peer in self._links:
                self._links[peer].stop()
        self._links = {peer: link for peer, link in self._links.items() if peer not in peers}

    def _open(self, member: Member) -> None:
        if self._config.security is None and not is_loopback(member.address):
            self._unsafe[member.node_id] = f"{member.address} is not on this machine, and there is no TLS for peers"
            logger.error("%s is not connected to: %s", member.node_id, self._unsafe[member.node_id])
            return
        self._links = self._links | {member.node_id: _Link(self._config, member, self._receiver, self._certificates)}

    def refusals(self) -> dict[str, str]:
        refused = {peer: link.refusal for peer, link in self._links.items() if link.refusal is not None}
        return self._unsafe | refused

    def stop(self) -> None:
        for link in self._links.values():
            link.stop()


class _Link:
    """The way to one peer, opened again whenever it breaks. A thread of its own waits for that."""

    def __init__(
        self, config: PeeringConfig, member: Member, receiver: Receiver, certificates: ServerCertificates | None
    ) -> None:
        self.address = member.address
        self.refusal: str | None = None
        self.is_stranger = False  #: the peer says that this node is no member
        self._config = config
        self._peer = member.node_id
        self._receiver = receiver
        self._certificates = certificates
        self._queue: _FrameQueue | None = None
        self._call: Any = None
        self._ask: Any = None
        self._stopping = threading.Event()
        threading.Thread(target=self._run, daemon=True, name=f"raft-to-{self._peer}").start()

    def send(self, message: AnyMessage) -> None:
        queue = self._queue
        if queue is not None:
            queue.put(message)

    def ask(self, question: bytes, timeout_s: float) -> bytes:
        if self._ask is None or self._queue is None:
            raise NotAnswered(f"{self._peer} is not connected")
        try:
            answer: bytes = self._ask(question, timeout=timeout_s, metadata=self._hello())
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed meanwhile
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            raise NotAnswered(f"{self._peer} does not answer: {details}") from error
        return answer

    def _hello(self) -> tuple[tuple[str, bytes], ...]:
        return ((_HELLO, self._config.hello(self._peer)),)

    def stop(self) -> None:
        self._stopping.set()
        call, queue = self._call, self._queue
        if queue is not None:
            queue.close()
        if call is not None:
            call.cancel()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._use_channel(None if self._certificates is None else self._certificates.current)

    def _use_channel(self, pems: Pems | None) -> None:
        """Until it stops, or connects again after the certificates have changed."""
        with self._channel(pems) as channel:
            connect = channel.stream_stream(
                f"/{_SERVICE}/{_METHOD}", request_serializer=_as_it_is, response_deserializer=_as_it_is
            )
            self._ask = channel.unary_unary(
                f"/{_SERVICE}/{_ASK}", request_serializer=_as_it_is, response_deserializer=_as_it_is
            )
            while not self._stopping.is_set() and (self._certificates is None or self._certificates.current is pems):
                self._hold(connect)
                self._stopping.wait(_RETRY_S)

    def _channel(self, pems: Pems | None) -> grpc.Channel:
        options = self._config.options()
        if pems is None:
            return grpc.insecure_channel(self.address, options=options)
        credentials = grpc.ssl_channel_credentials(pems.authority, pems.key, pems.certificate)
        # Whatever its address, the peer must have a certificate for its id.
        return grpc.secure_channel(
            self.address, credentials, options=[*options, ("grpc.ssl_target_name_override", self._peer)]
        )

    def _hold(self, connect: Any) -> None:
        """From hello until it breaks."""
        queue = _FrameQueue(self._config.limits)
        try:
            self._call = connect(queue.frames(), metadata=self._hello())
            for _ in self._call:
                if self._queue is None:
                    self._queue, self.refusal, self.is_stranger = queue, None, False
                    self._receiver.peer_connected(self._peer)
        except grpc.RpcError as error:
            self._note_refusal(error)
        finally:
            queue.close()
            if self._queue is not None:
                self._queue = None
                self._receiver.peer_disconnected(self._peer)

    def _note_refusal(self, error: Any) -> None:
        code, details = error.code(), error.details() or ""
        self.is_stranger = code is grpc.StatusCode.NOT_FOUND
        refused = self.is_stranger or code is grpc.StatusCode.PERMISSION_DENIED
        if not refused and not ("handshake" in details.lower() or "certificate" in details.lower()):
            return  # it is down or was, which is nobody's mistake
        reason = f"{self._peer} refuses: {details}" if refused else f"no trusted connection to {self._peer}: {details}"
        if reason != self.refusal:
            logger.error("%s", reason)
        self.refusal = reason


class _FrameQueue:
    """Messages of one stream, taken out by a thread of gRPC as frames of whatever waits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: SimpleQueue[AnyMessage | None] = SimpleQueue()
        self._put_bytes = 0  #: written by the raft thread alone
        self._taken_bytes = 0  #: written by gRPC's thread alone

    def put(self, message: AnyMessage) -> None:
        size, waiting = codec.size_of(message), self._put_bytes - self._taken_bytes
        if waiting and waiting + size > self._limits.link_bytes:
            return  # lost, as if on the way: the leader will notice what the peer lacks
        self._put_bytes += size
        self._queue.put(message)

    def close(self) -> None:
        self._queue.put(None)

    def frames(self) -> Iterator[bytes]:
        while (message := self._queue.get()) is not None:
            messages = [message]
            size = codec.size_of(message)
            while size < self._limits.frame_bytes and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    return
                messages.append(following)
                size += codec.size_of(following)
            self._taken_bytes += size
            yield codec.encode(messages)


# --- from peers


class _Listener:
    def __init__(
        self,
        config: PeeringConfig,
        receiver: Receiver,
        known: Callable[[], set[str]],
        certificates: ServerCertificates | None,
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._receiver = receiver
        self._known = known
        self._lock = threading.Lock()
        self._streams: dict[str, tuple[int, int]] = {}  #: by peer: its incarnation and the number of its stream
        self._count = 0
        self._refusals: dict[str, str] = {}
        self._server: Any = None
        self.port = 0

    def start(self) -> None:
        config = self._config
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(_STREAMS_MAX, thread_name_prefix="raft-from"),
            options=config.options(),
            maximum_concurrent_rpcs=_STREAMS_MAX,
        )
        handler = grpc.stream_stream_rpc_method_handler(
            self._connect, request_deserializer=_as_it_is, response_serializer=_as_it_is
        )
        asked = grpc.unary_unary_rpc_method_handler(
            self._asked, request_deserializer=_as_it_is, response_serializer=_as_it_is
        )
        handlers = {_METHOD: handler, _ASK: asked}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        try:
            self.port = self._bind()
        except RuntimeError as error:
            raise StartError(f"{config.listen}: the peers' address can't be used: {error}") from error
        self._server.start()

    def _bind(self) -> int:
        if self._certificates is None:
            return int(self._server.add_insecure_port(self._config.listen))
        return int(self._server.add_secure_port(self._config.listen, self._certificates.credentials()))

    def refusals(self) -> dict[str, str]:
        with self._lock:
            return dict(self._refusals)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()

    def _connect(self, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:
        hello = self._admit(context)
        stream = self._enter(hello, context)
        try:
            yield _WELCOME
            for frame in frames:
                messages = codec.decode(frame, bytes_max=self._config.limits.frame_bytes_max)
                if not self._is_current(hello.node_id, stream):
                    return  # the peer has opened a newer one, and what comes here is out of order
                if hello.node_id not in self._known():
                    # It came in as a member. Removed, it may hear of that nowhere but here.
                    self._refuse_stranger(hello.node_id, stranger(hello, self._config.cluster), context)
                self._receiver.peer_said(hello.node_id, messages)
        except BadMessage as error:
            logger.warning("%s sends what it should not: %s", hello.node_id, error)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._leave(hello.node_id, stream)

    def _asked(self, question: bytes, context: Any) -> bytes:
        return self._receiver.peer_asked(self._admit(context).node_id, question)

    def _admit(self, context: Any) -> Hello:
        config = self._config
        try:
            hello = _hello_decoder.decode(dict(context.invocation_metadata()).get(_HELLO, b""))
        except UNDECODABLE:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this port is for the peers of a cluster")
        try:
            check_hello(
                hello,
                cluster=config.cluster,
                node_id=config.node_id,
                known=self._known(),
                names=None if config.security is None else _names(context.auth_context()),
            )
        except Stranger as refusal:
            self._refuse_stranger(hello.node_id, refusal, context)
        except Refusal as refusal:
            self._refuse(hello.node_id, str(refusal), context)
        return hello

    def _refuse_stranger(self, peer: str, refusal: Stranger, context: Any) -> None:
        self._refuse(peer, str(refusal), context, grpc.StatusCode.NOT_FOUND)

    def _refuse(
        self, peer: str, reason: str, context: Any, code: grpc.StatusCode = grpc.StatusCode.PERMISSION_DENIED
    ) -> None:
        with self._lock:
            news = self._refusals.get(peer) != reason
            if len(self._refusals) < _STREAMS_MAX:
                self._refusals[peer] = reason
        if news:
            logger.error("a connection of %s is refused: %s", peer, reason)
        context.abort(code, reason)

    def _enter(self, hello: Hello, context: Any) -> int:
        """Refuses a second node of the same id while the first one is connected."""
        with self._lock:
            other = self._streams.get(hello.node_id)
            twin = other is not None and other[0] != hello.incarnation
            if not twin:
                self._count += 1
                self._streams[hello.node_id] = (hello.incarnation, self._count)
                self._refusals.pop(hello.node_id, None)
                return self._count
        self._refuse(
            hello.node_id,
            f"another node named {hello.node_id} is connected to {self._config.node_id}: two nodes have one id,"
            " or its earlier start has not ended",
            context,
        )
        raise AssertionError("abort raises")

    def _is_current(self, peer: str, stream: int) -> bool:
        with self._lock:
            return self._streams.get(peer, (0, 0))[1] == stream

    def _leave(self, peer: str, stream: int) -> None:
        with self._lock:
            if self._streams.get(peer, (0, 0))[1] == stream:
                del self._streams[peer]


def _names(auth: dict[str, list[bytes]]) -> set[str]:
    """Those of the peer's certificate: its alternative names, or the common name if it has none."""
    names = auth.get("x509_subject_alternative_name") or auth.get("x509_common_name") or []
    return {name.decode(errors="replace") for name in names}


def _as_it_is(data: bytes) -> bytes:
    return data
