"""A cluster of real daemons on this machine: each is started, killed, frozen and asked by itself."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import apsw
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tempolite_sdk import TLS, Client
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1.cluster_service_pb2_grpc import ClusterServiceStub
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import ExecutionServiceStub
from tests.cluster.lab import free_ports
from tests.e2e.daemon import DAEMON, HANDLERS, PATIENCE_S, Process, World, recorded_in

KILLING = (sys.executable, "-m", "tests.e2e.killing_daemon")
ODD = (sys.executable, "-m", "tests.cluster.odd_daemon")
_LOOK_S = 5.0  #: for one look at a node, which may be frozen


def reason_of(error: grpc.RpcError) -> str:
    """The google.rpc.ErrorInfo.reason that came with it."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def eventually(predicate: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Until it holds. It is asked again and again: nobody announces what several nodes come to."""
    deadline = time.monotonic() + patience_s
    while not predicate():
        assert time.monotonic() < deadline, f"waited {patience_s} s in vain: {what}"
        time.sleep(0.05)


class Node(Process):
    """One node of a cluster, over all its starts."""

    def __init__(self, cluster: Cluster, node_id: str, config_file: Path) -> None:
        super().__init__(cluster.world)
        self.id = node_id
        self._cluster = cluster
        self.enter: Sequence[str] = ()  #: put before its command: has it run somewhere else
        self._config_file = config_file
        self._paused = False

    def __repr__(self) -> str:
        return f"<node {self.id}>"

    @property
    def data_dir(self) -> Path:
        return self._cluster.directory / self.id

    def arguments(self) -> Sequence[str]:
        return "--config", str(self._config_file), "--node-id", self.id

    def spawn(self, *command: str, **options: Any) -> Any:
        self._paused = False
        return super().spawn(*self.enter, *(command or DAEMON), **options)

    @property
    def answers(self) -> bool:
        """It runs, and is not frozen."""
        return self.running and not self._paused

    def pause(self) -> None:
        """SIGSTOP: it says nothing, and its connections stay. Its worker hosts go on."""
        self.signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        self.signal(signal.SIGCONT)
        self._paused = False

    def restart(self, *command: str, **environment: str) -> None:
        """Killed, and started at once; command: in the place of the daemon's own."""
        self.kill()
        self.start(*command, **environment)

    def lose_data(self) -> None:
        shutil.rmtree(self.data_dir)

    # --- what it says

    def view(self, timeout_s: float = _LOOK_S) -> pb.Cluster:
        """The cluster, as this node sees it."""
        cluster: pb.Cluster = self.change("GetCluster", pb.GetClusterRequest(), timeout_s).cluster
        return cluster

    def sees(self, predicate: Callable[[pb.Cluster], bool]) -> bool:
        """False, too, if it does not answer."""
        try:
            return self.answers and predicate(self.view())
        except grpc.RpcError:
            return False

    def change(self, method: str, request: Any, timeout_s: float = PATIENCE_S) -> Any:
        """Asks its ClusterService."""
        return self._ask(ClusterServiceStub, method, request, timeout_s)

    def ask(self, method: str, request: Any, timeout_s: float = PATIENCE_S) -> Any:
        """Asks its ExecutionService, once, and says what it says."""
        return self._ask(ExecutionServiceStub, method, request, timeout_s)

    def _ask(self, stub: Any, method: str, request: Any, timeout_s: float) -> Any:
        with self._channel() as channel:
            return getattr(stub(channel), method)(request, timeout=timeout_s)

    def _channel(self) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._cluster.access is None:
            return grpc.insecure_channel(self.address, options=options)
        tls, token = self._cluster.access
        caller = grpc.access_token_call_credentials(token)
        return grpc.secure_channel(
            self.address, grpc.composite_channel_credentials(tls.credentials(), caller), options=options
        )

    def client(self, **options: Any) -> Client:
        return self._cluster.client_of([self.address], **options)

    def query(self, sql: str) -> list[Any]:
        """Of its store, while it is down."""
        connection = apsw.Connection(str(self.data_dir / "store.db"), apsw.SQLITE_OPEN_READONLY)
        try:
            return list(connection.execute(sql))
        finally:
            connection.close()

    def dump(self) -> dict[str, list[Any]]:
        """All that is in its store, but for whose store it is; while it is down."""
        tables = [row[0] for row in self.query("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        content = {table: sorted(self.query(f"SELECT * FROM {table}"), key=repr) for table in tables}
        content["meta"] = self.query("SELECT applied_index, last_row, cluster FROM meta")
        return content


class Cluster(World):
    """Its nodes share one config file, and one world that their handlers act on."""

    def __init__(self, directory: Path, config: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
        """nodes: each with the settings of its entry in the config."""
        super().__init__(directory)
        self.config_file = directory / "cluster.yaml"
        ports = iter(free_ports(2 * len(nodes)))
        self.entries = {
            node_id: {"id": node_id, "peers": f"127.0.0.1:{next(ports)}", "listen": f"127.0.0.1:{next(ports)}", **entry}
            for node_id, entry in nodes.items()
        }
        self.nodes = {node_id: Node(self, node_id, self.config_file) for node_id in nodes}
        for node in self.nodes.values():
            node.address = self.entries[node.id]["listen"]
        self.access: tuple[TLS, str] | None = None  #: how clients come in, and their token; None: anybody may
        self._config = config
        self.write_config()

    def __getitem__(self, node_id: str) -> Node:
        return self.nodes[node_id]

    def write_config(self, **cluster: Any) -> None:
        """For the starts from now on. cluster: further settings of the cluster."""
        self._write(self.config_file, "${TEMPOLITE_NODE_ID}", list(self.entries.values()), cluster)

    def _write(
        self, file: Path, data_dir: str, entries: Sequence[Mapping[str, Any]], cluster: Mapping[str, Any]
    ) -> None:
        whole = {
            "node": {"id": "${TEMPOLITE_NODE_ID}", "data_dir": str(self.directory / data_dir)},
            **self._config,
            "cluster": {"name": "test", "nodes": entries, **self._config.get("cluster", {}), **cluster},
        }
        whole["hosts"] = {"python_path": [str(HANDLERS)], **self._config.get("hosts", {})}
        file.write_text(json.dumps(whole))

    @contextlib.contextmanager
    def twin(self, node_id: str, *, name: str = "test", data_dir: str = "", **entry: str) -> Iterator[Node]:
        """A second node of the id, not started, with a config of its own; killed at the end.

        name: of the cluster that it takes itself to be in. entry: what else is in its entry.
        """
        file = self.directory / "twin.yaml"
        entries = [{**each, **(entry if each["id"] == node_id else {})} for each in self.entries.values()]
        self._write(file, data_dir or node_id, entries, {"name": name})
        twin = Node(self, node_id, file)
        twin.address = entry.get("listen", self.entries[node_id]["listen"])
        try:
            yield twin
        finally:
            twin.close()

    # --- the processes

    @property
    def founders(self) -> list[Node]:
        return [node for node in self.nodes.values() if not self.entries[node.id].get("join")]

    def start(self, *command: str, environment: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> Cluster:
        """Returns when all who found the cluster know each other, and one of them leads. environment: by node."""
        started = [(node, node.spawn(*command, **environment.get(node.id, {}))) for node in self.founders]
        for node, served in started:
            assert served.wait(2 * PATIENCE_S), f"node {node.id} did not start in time"
            assert node.running, f"node {node.id} did not start"
        self.until_all_live()
        return self

    def until_all_live(self, among: Collection[Node] | None = None) -> None:
        """Until each sees each of them live, and one of them lead."""
        expected = self.founders if among is None else among
        ids = {node.id for node in expected}

        def complete(view: pb.Cluster) -> bool:
            return view.leader in ids and ids == {member.node_id for member in view.members if member.live}

        for node in expected:
            eventually(lambda node=node: node.sees(complete), f"{node.id} sees {ids} live", 2 * PATIENCE_S)

    def until_lost(self, lost: Node) -> None:
        """Until those who answer hold it for dead."""

        def gone(view: pb.Cluster) -> bool:
            return not any(member.live for member in view.members if member.node_id == lost.id)

        for node in self.others(lost):
            eventually(lambda node=node: node.sees(gone), f"{node.id} holds {lost.id} for dead")

    def others(self, *besides: Node) -> list[Node]:
        """Those who answer, but for these."""
        return [node for node in self.nodes.values() if node.answers and node not in besides]

    def leader(self) -> Node:
        """Who leads, as it says itself; until somebody does."""
        found: list[Node] = []

        def somebody_leads() -> bool:
            found[:] = [node for node in self.others() if node.sees(lambda view: view.role == "leader")]
            return len(found) == 1

        eventually(somebody_leads, "somebody leads")
        return found[0]

    def heal(self) -> Cluster:
        """Has all of them up and live."""
        for node in self.founders:
            if not node.running:
                node.start()
            elif not node.answers:
                node.resume()
        self.until_all_live()
        return self

    def transfer_leadership(self, to: Node) -> None:
        def led_by_it() -> bool:
            leader = self.leader()
            if leader is not to:
                with contextlib.suppress(grpc.RpcError):  # repeated if that can't be now
                    leader.change("TransferLeadership", pb.TransferLeadershipRequest(node_id=to.id))
            return leader is to

        eventually(led_by_it, f"{to.id} leads")
        for node in self.others():
            eventually(lambda node=node: node.sees(lambda view: view.leader == to.id), f"{node.id} follows {to.id}")

    def follower(self, *besides: Node) -> Node:
        return self.others(self.leader(), *besides)[0]

    def close(self) -> None:
        self.open_gates()
        for node in self.nodes.values():
            node.close()

    # --- what it did

    def client(self, *first: Node, **options: Any) -> Client:
        """Of all nodes, these first."""
        nodes = [*first, *(node for node in self.nodes.values() if node not in first)]
        return self.client_of([node.address for node in nodes], **options)

    def client_of(self, addresses: Sequence[str], **options: Any) -> Client:
        """Of these nodes alone."""
        tls, token = self.access or (False, None)
        return Client(addresses, timeout=options.pop("timeout", PATIENCE_S), tls=tls, token=token, **options)

    def until_applied(self) -> None:
        """Until all who answer have applied the same, and nothing more comes."""
        seen: set[tuple[int, int]] = set()

        def settled() -> bool:
            nonlocal seen
            views = [node.view() for node in self.others()]
            # What is applied last may lie before what is ordered last: barriers, and the first words of leaders.
            before, seen = seen, {(view.commit_index, view.applied_index) for view in views}
            return len(seen) == 1 and seen == before

        eventually(settled, "all nodes are at one index")

    def check_equal_stores(self) -> dict[str, list[Any]]:
        """Stops all nodes, once nothing moves any more: their stores hold the same. Returns what."""
        running = self.others()
        self.until_applied()
        for node in running:
            node.kill()
        dumps = {node.id: node.dump() for node in running}
        first = dumps[running[0].id]
        for node_id, dump in dumps.items():
            for table, rows in first.items():
                assert dump[table] == rows, f"{table} differs between {running[0].id} and {node_id}"
        return first

    def remember(self) -> Memory:
        """What is recorded by now, in the store of whatever node, whether it runs or not."""
        recorded: set[str] = set()
        for node in self.nodes.values():
            if (node.data_dir / "store.db").exists():
                recorded |= recorded_in(node.data_dir)
        return Memory(self, recorded)

    def logs(self, since: float) -> str:
        """What the nodes have logged since a moment of the wall clock, side by side."""
        lines = [
            (str(line.get("timestamp", "")), node.id, line)
            for node in self.nodes.values()
            for line in list(node.log)
            if str(line.get("timestamp", "9")) >= datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        ]
        lines.sort(key=lambda line: line[0])
        return "\n".join(f"{at[11:23]} {node_id}: {_shown(line)}" for at, node_id, line in lines)


def _shown(line: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in line.items() if key not in ("event", "timestamp", "logger", "level")}
    return f"{line.get('event')} {rest or ''}"


class Memory:
    """What was recorded at a moment, and how often it had happened by then."""

    def __init__(self, world: World, recorded: Collection[str]) -> None:
        self._world = world
        self._happened = {operation: world.effects()[operation] for operation in recorded}

    def __len__(self) -> int:
        return len(self._happened)

    def check_nothing_ran_again(self) -> None:
        now = self._world.effects()
        again = {operation for operation, count in self._happened.items() if now[operation] != count}
        assert not again, f"was recorded, and ran again: {sorted(again)}"
