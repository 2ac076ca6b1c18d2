"""A node of the log in a process of its own, with a store in SQLite. Spoken to in lines of JSON.

In:  {"do": "propose", "number": n, "bytes": size} · barrier · status · dump · add · remove · transfer · stop
Out: {"event": "up" | "leader" | "outcome" | "status" | "dump" | "refused" | "failed", ...}
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from tempolite_node.errors import NodeError
from tempolite_node.log.raft.entries import Entry, Member, RequestId
from tempolite_node.log.raft.peering import PeerSecurity
from tempolite_node.log.raft.raft_log import RaftConfig, RaftLog
from tempolite_node.log.raft.timing import Limits, Timing

_lock = threading.Lock()


def emit(**event: Any) -> None:
    with _lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


class Store:
    """Entries in a table, and the applied index in the same transaction. Applies in the call that hands over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, data BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS applied (one INTEGER PRIMARY KEY CHECK (one = 1), log_index INTEGER NOT NULL)"
        )
        self.applied_index = self._read_applied()

    def _read_applied(self) -> int:
        row = self._connection.execute("SELECT log_index FROM applied").fetchone()
        return int(row[0]) if row else 0

    def deliver(self, entries: Sequence[Entry]) -> None:
        rows = [(entry.index, int.from_bytes(entry.request_id, "big"), entry.data) for entry in entries]
        with self._connection:
            self._connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
            self._connection.execute("INSERT OR REPLACE INTO applied VALUES (1, ?)", (entries[-1].index,))
        self.applied_index = entries[-1].index

    def sync(self) -> None:
        """Each commit is synced."""

    def make_snapshot(self, path: Path) -> int:
        reader = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("VACUUM INTO ?", (str(path),))
        reader.close()
        made = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        index = made.execute("SELECT log_index FROM applied").get
        made.close()
        return int(index)

    def install_snapshot(self, path: Path, index: int) -> None:
        source = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        with self._connection.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        self._connection.pragma("journal_mode", "wal")
        self.applied_index = self._read_applied()
        emit(event="installed", index=index)

    def dump(self) -> dict[str, Any]:
        reader = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        rows: list[Any] = reader.execute("SELECT place, number, data FROM items ORDER BY place").fetchall()
        reader.close()
        digest = 0
        for place, number, data in rows:
            digest = zlib.crc32(b"%d %d %s" % (place, number, data), digest)
        return {"numbers": [row[1] for row in rows], "digest": digest, "applied": self.applied_index}


def config_of(given: dict[str, Any]) -> RaftConfig:
    security = None
    if given["certificates"]:
        files = {name: Path(path).read_bytes() for name, path in given["certificates"].items()}
        security = PeerSecurity(**files)
    return RaftConfig(
        cluster=given["cluster"],
        node_id=given["node_id"],
        listen=given["listen"],
        directory=Path(given["directory"]),
        members=tuple(Member(*member) for member in given["members"]),
        join=given["join"],
        security=security,
        timing=Timing(**given["timing"]),
        limits=Limits(**given["limits"]),
    )


def main() -> None:
    given = json.loads(sys.argv[1])
    directory = Path(given["directory"])
    directory.mkdir(exist_ok=True)
    logging.basicConfig(filename=directory / "log.txt", level=logging.INFO)

    def failed(error: BaseException) -> None:
        emit(event="failed", error=f"{type(error).__name__}: {error}")
        os._exit(70)

    store = Store(directory / "store.db")
    log = RaftLog(
        config_of(given),
        store,
        on_failure=failed,
        on_leader=lambda who, term: emit(event="leader", leader=who, term=term),
    )
    try:
        log.start()
    except NodeError as error:
        emit(event="refused", error=f"{type(error).__name__}: {error}")
        return
    emit(event="up", pid=os.getpid())
    for line in sys.stdin:
        obey(json.loads(line), log, store)
        if json.loads(line)["do"] == "stop":
            break
    log.stop()


def obey(order: dict[str, Any], log: RaftLog, store: Store) -> None:
    number = order.get("number", 0)

    def told(outcome: Any) -> None:
        values = {name: getattr(outcome, name) for name in outcome.__slots__}
        emit(event="outcome", number=number, kind=type(outcome).__name__, **values)

    request_id, timeout_s = RequestId(number.to_bytes(16, "big")), order.get("timeout_s", 10.0)
    match order["do"]:
        case "propose":
            data = bytes([number % 251]) * order.get("bytes", 100)
            log.propose(data, request_id=request_id, timeout_s=timeout_s, on_outcome=told)
        case "barrier":
            log.barrier(request_id=request_id, timeout_s=timeout_s, on_outcome=told)
        case "add":
            log.add_member(Member(*order["member"]), timeout_s=timeout_s, on_outcome=told)
        case "remove":
            log.remove_member(order["node_id"], timeout_s=timeout_s, on_outcome=told)
        case "transfer":
            log.transfer_leadership(order["to"], timeout_s=timeout_s, on_outcome=told)
        case "status":
            status = log.status()
            peers = {peer.node_id: {"connected": peer.connected, "refused": peer.refused} for peer in status.peers}
            emit(
                event="status",
                role=status.role,
                leader=status.leader,
                term=status.term,
                members=status.members,
                commit=status.commit_index,
                applied=status.applied_index,
                first=status.first_index,
                last=status.last_index,
                peers=peers,
            )
        case "dump":
            emit(event="dump", **store.dump())


if __name__ == "__main__":
    main()
