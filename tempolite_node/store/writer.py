"""What the engine reads of the store, and how a unit of work is saved. Belongs to the driver's thread alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tempolite_node.engine import sizes
from tempolite_node.engine.model import (
    ATTEMPTS_KEPT_FIRST,
    ATTEMPTS_KEPT_LAST,
    FINAL,
    Component,
    Execution,
    NodeState,
    Operation,
    OperationKind,
    Signal,
    Status,
    Timer,
)
from tempolite_node.engine.work import Work
from tempolite_node.errors import StorageFailed
from tempolite_node.store.clearing import clear, clear_whole, delete
from tempolite_node.store.execution_cache import ExecutionCache
from tempolite_node.store.journals import Journals
from tempolite_node.store.nodes import Nodes
from tempolite_node.store.places import PlaceIndex
from tempolite_node.store.rows import ATTEMPTS, EXECUTIONS, INBOX, OPERATIONS, TIMERS, to_json
from tempolite_node.store.statement import Statement

_FREE_PAGES_KEPT = 1_000  #: for what is written next
_PAGES_GIVEN_BACK = 64  #: at a time: others wait for as long as it takes

_WAITS_BYTES_MAX = 16 * 1024**2  #: of waits for executions; beyond it they are forgotten, and read when those end

_JOURNAL_SIZE = """SELECT count(*), coalesce(sum(ifnull(length(input), 0) + ifnull(length(result), 0)
                   + ifnull(length(failure), 0)), 0) FROM operations WHERE execution_row = ?"""
_CLEAR_TIMERS = Statement("DELETE FROM timers WHERE execution_row IN (VALUES {rows})", 1)
_CLEAR_TIMER = Statement("DELETE FROM timers WHERE (execution_row, name) IN (VALUES {rows})", 2)
_SEND = Statement("INSERT INTO outbox (execution_row, seq, name, payload, at_ms) VALUES {rows}", 5)
_OPEN = ", ".join(f"'{status}'" for status in Status if status not in FINAL)


class StoreWriter:
    """The writer's view of the store, with a write-through cache of executions, and of the journals that grow."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.open(connection)

    def open(self, connection: apsw.Connection) -> None:
        """Reads what is always kept in memory, and forgets what was of another store before."""
        self._connection = connection
        self.path = Path(connection.filename)  #: of the store. For any thread
        self._cache = ExecutionCache()
        self._absent: set[str] = set()  #: ids that nobody has, as of the last commit
        self._journals = Journals()
        self.journal_sizes: dict[int, tuple[int, int]] = {}  #: of those that hosts hold, as far as known
        self._waits: dict[int, dict[tuple[int, str], Operation]] = {}  #: for an execution's end, as far as remembered
        self._waits_bytes = 0
        sql = "SELECT last_row, applied_index, lowest_epoch, lowest_epoch_until_ms FROM meta WHERE one = 1"
        meta = connection.execute(sql).get
        assert meta is not None, "claim_store comes first"
        self._last_row: int = meta[0]
        self.applied_index: int = meta[1]
        self._lowest_epoch: tuple[int, int] = (meta[2], meta[3])
        self.visible_index = self.applied_index  #: what other connections may read by now. For any thread
        self._nodes = Nodes(connection)
        self.places = PlaceIndex(connection)
        self._counts = self._counted()
        self._next_due_ms: int | None = None
        self._due_is_known = False
        self._shrinks = connection.pragma("auto_vacuum") == 2  # incremental
        self._may_give_back = self._shrinks

    def _counted(self) -> Counter[tuple[str, Component, Status]]:
        """Executions of each owner, component and status."""
        stored: Any = self._connection.execute("SELECT counts FROM meta WHERE one = 1").get
        return Counter(
            {
                (owner, Component(component), Status(status)): count
                for owner, component, status, count in msgspec.json.decode(stored)
            }
        )

    def checkpoint(self) -> None:
        """Has all that is saved in the store's file, and nothing beside it. StorageFailed: another program reads it."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError as error:
            message = "another program reads the store, which is to be replaced: end it and start the node again"
            raise StorageFailed(f"{self.path}: {message}") from error

    def close(self) -> None:
        self._connection.close()

    # --- reads

    def last_row(self) -> int:
        return self._last_row

    def lowest_epoch(self) -> tuple[int, int]:
        """Of new executions, and until when it is that, in Unix milliseconds; then 0."""
        return self._lowest_epoch

    def counts(self) -> Counter[tuple[Component, Status]]:
        """Executions of each component and status, whoever runs them. Of what has ended, also what was deleted."""
        counts: Counter[tuple[Component, Status]] = Counter()
        for (_, component, status), count in self._counts.items():
            counts[component, status] += count
        return counts

    def count_of(self, owner: str, component: Component, status: Status) -> int:
        return self._counts[owner, component, status]

    def nodes(self) -> Mapping[str, NodeState]:
        return self._nodes.all

    def format(self) -> int:
        """In use by the nodes; see `formats`."""
        return self._nodes.format

    def serving(self, handler: str) -> tuple[NodeState, ...]:
        return self._nodes.serving(handler)

    def sequence(self, node_id: str) -> int:
        return self._nodes.sequence(node_id)

    def open_by_owner(self) -> Counter[str]:
        """Executions that have not ended."""
        counts: Counter[str] = Counter()
        for (owner, _, status), count in self._counts.items():
            if status not in FINAL:
                counts[owner] += count
        return counts

    def misplaced(self, limit: int) -> list[str]:
        """Ids of executions whose owner can't run them, while another node can."""
        nodes, owners = self.nodes(), self.open_by_owner()
        if len(nodes) < 2 and nodes.keys() >= owners.keys():
            return []
        found: list[str] = []
        for owner in sorted(owners):
            node = nodes.get(owner)
            elsewhere = [
                served.name
                for other in nodes.values()
                if other.takes_work and other.id != owner
                for served in other.handlers
                if node is None or not (node.takes_work and node.serves(served.name))
            ]
            found += self._held_by(owner, elsewhere, attached=node is None or not node.live, limit=limit - len(found))
        return found

    def _held_by(self, owner: str, handlers: Collection[str], *, attached: bool, limit: int) -> list[str]:
        """Ids of the owner's executions that wait for a slot, are suspended or (attached) run, of these handlers."""
        if not handlers or limit <= 0:
            return []
        sql = """SELECT id FROM executions WHERE owner = :owner AND ready_at IS NOT NULL
                 AND handler IN (SELECT value FROM json_each(:handlers))
                 UNION ALL SELECT id FROM executions WHERE owner = :owner
                 AND (status = 'suspended'
                      OR (:attached AND status IN ('running', 'waiting', 'compensating') AND attached = 1))
                 AND handler IN (SELECT value FROM json_each(:handlers)) LIMIT :limit"""
        bindings = {
            "owner": owner,
            "handlers": msgspec.json.encode(sorted(set(handlers))).decode(),
            "attached": attached,
            "limit": limit,
        }
        return [row[0] for row in self._connection.execute(sql, bindings)]

    def _execution(self, where: str, bindings: tuple[Any, ...]) -> Execution | None:
        row = self._connection.execute(f"{EXECUTIONS.select} WHERE {where}", bindings).fetchone()
        return self._remember(EXECUTIONS.value(row)) if row else None

    def _remember(self, execution: Execution) -> Execution:
        self._cache.put(execution)
        return execution

    def execution(self, execution_id: str) -> Execution | None:
        found = self._cache.by_id.get(execution_id)
        if found is None and execution_id not in self._absent:
            found = self._execution("id = ?", (execution_id,))
        return found

    def look_up(self, execution_ids: Collection[str]) -> None:
        """Looks for many in one query, so that `execution` need not search the store for each until the next save."""
        unknown = [execution_id for execution_id in execution_ids if execution_id not in self._cache.by_id]
        if len(unknown) < 2:
            return
        sql = f"{EXECUTIONS.select} WHERE id IN (SELECT value FROM json_each(?))"
        self._absent.update(unknown)
        for row in self._connection.execute(sql, (msgspec.json.encode(unknown).decode(),)):
            self._absent.discard(self._remember(EXECUTIONS.value(row)).id)

    def execution_at(self, row: int) -> Execution | None:
        return self._cache.by_row.get(row) or self._execution("row = ?", (row,))

    def last_run(self, mailbox: int) -> Execution | None:
        """The latest of those that go on with a mailbox; None: there are none."""
        return self._execution("mailbox = ? ORDER BY row DESC LIMIT 1", (mailbox,))

    def continuing(self, mailbox: int, limit: int) -> list[int]:
        sql = "SELECT row FROM executions WHERE mailbox = ? ORDER BY row DESC LIMIT ?"
        return [row for (row,) in self._connection.execute(sql, (mailbox, limit))]

    def children(self, parent_row: int, limit: int) -> list[int]:
        sql = "SELECT row FROM executions WHERE parent_row = ? ORDER BY row LIMIT ?"
        return [row for (row,) in self._connection.execute(sql, (parent_row, limit))]

    def attached_or_suspended(self, owner: str) -> list[Execution]:
        sql = f"""{EXECUTIONS.select} WHERE owner = ? AND (status = 'suspended'
                  OR (status IN ('running', 'waiting', 'compensating') AND attached = 1)) ORDER BY row"""
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (owner,))]

    def open_children(self, parent_row: int) -> list[Execution]:
        sql = f"{EXECUTIONS.select} WHERE parent_row = ? AND status IN ({_OPEN}) ORDER BY row"
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (parent_row,))]

    def children_with_children(self, parent_row: int) -> list[Execution]:
        sql = f"{EXECUTIONS.select} WHERE parent_row = ? AND has_children = 1 ORDER BY row"
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (parent_row,))]

    def operation(self, row: int, kind: OperationKind, key: str) -> Operation | None:
        journal = self._journals.by_row.get(row)
        if journal is not None:
            return journal.get((kind, key))
        sql = f"{OPERATIONS.select} WHERE execution_row = ? AND kind = ? AND key = ?"
        found = self._connection.execute(sql, (row, kind, key)).fetchone()
        return OPERATIONS.value(found) if found else None

    def _operations(self, where: str, bindings: tuple[Any, ...], *, index: str = "") -> list[Operation]:
        """In the order in which they were recorded. Not by SQLite: it sets up a sort even for a single row."""
        sql = f"{OPERATIONS.select} {index} WHERE {where}"
        found = [OPERATIONS.value(row) for row in self._connection.execute(sql, bindings)]
        return sorted(found, key=lambda op: op.seq)

    def operations_of_kind(self, row: int, kind: OperationKind) -> list[Operation]:
        journal = self._journals.by_row.get(row)
        if journal is not None:
            return sorted((op for op in journal.values() if op.kind is kind), key=lambda op: op.seq)
        return self._operations("execution_row = ? AND kind = ?", (row, kind))

    def journal_size(self, row: int) -> tuple[int, int]:
        """Operations, and their bytes as `sizes.of_record` counts them."""
        found: Any = self._connection.execute(_JOURNAL_SIZE, (row,)).fetchone()
        size = self.journal_sizes[row] = (found[0], found[1])
        return size

    def operations(self, row: int, bytes_max: int) -> list[Operation] | None:
        """The whole journal of an execution, in the order in which it was recorded; None: it has more bytes."""
        journal = self._journals.by_row.get(row)
        if journal is not None:
            operations = sorted(journal.values(), key=lambda op: op.seq)
            return operations if sum(map(sizes.of_operation, operations)) <= bytes_max else None
        operations = self._first_operations("execution_row = ?", (row,), bytes_max)
        if sum(map(sizes.of_operation, operations)) > bytes_max:
            return None
        operations.sort(key=lambda op: op.seq)
        execution = self.execution_at(row)
        if execution is not None and execution.attached:
            self._journals.open(row, operations)
        return operations

    def operations_after(self, row: int, last: tuple[OperationKind, str] | None, bytes_max: int) -> list[Operation]:
        """The next of a journal, by kind and key, up to the one that goes beyond the bytes; none: that is all."""
        where = "execution_row = ? AND (kind, key) > (?, ?) ORDER BY kind, key"
        return self._first_operations(where, (row, *(last or ("", ""))), bytes_max)

    def _first_operations(self, where: str, bindings: tuple[Any, ...], bytes_max: int) -> list[Operation]:
        """Up to the first one with which they have more bytes."""
        operations, size = [], 0
        for found in self._connection.execute(f"{OPERATIONS.select} WHERE {where}", bindings):
            operations.append(OPERATIONS.value(found))
            size += sizes.of_operation(operations[-1])
            if size > bytes_max:
                break
        return operations

    def pending(self, row: int) -> list[Operation]:
        # By the index, which SQLite would not choose: the primary key leads through the whole journal.
        where = "execution_row = ? AND status = 'pending' AND kind <> 'compensation'"
        return self._operations(where, (row,), index="INDEXED BY operations_pending")

    def retrying(self, row: int) -> list[Operation]:
        # By the index, which SQLite would not choose: the primary key leads through all that was ever recorded.
        where = "execution_row = ? AND status = 'retrying'"
        return self._operations(where, (row,), index="INDEXED BY operations_retrying")

    def waiters(self, target_row: int) -> list[Operation]:
        known = self._waits.get(target_row, {})
        target = self._cache.by_row.get(target_row)
        if target is not None and target.waiters == len(known):
            return list(known.values())
        return self._operations("target_row = ? AND kind = 'wait' AND status = 'pending'", (target_row,))

    def timer(self, row: int, name: str) -> Timer | None:
        sql = f"{TIMERS.select} WHERE execution_row = ? AND name = ?"
        found = self._connection.execute(sql, (row, name)).fetchone()
        return TIMERS.value(found) if found else None

    def next_due_ms(self) -> int | None:
        """When the next timer is due; None: there is no timer at all."""
        if not self._due_is_known:
            self._next_due_ms = self._connection.execute("SELECT min(due_ms) FROM timers").get
            self._due_is_known = True
        return self._next_due_ms

    def due_timers(self, now_ms: int, limit: int, bytes_max: int | None = None) -> list[tuple[str, Timer]]:
        """Timers that are due, earliest first, each with the id of its execution; up to so many bytes of those."""
        sql = f"{TIMERS.select} WHERE due_ms <= ? ORDER BY due_ms LIMIT ?"
        due, size = [], 0
        for timer in [TIMERS.value(row) for row in self._connection.execute(sql, (now_ms, limit))]:
            execution = self.execution_at(timer.execution_row)
            assert execution is not None, f"a timer of no execution: {timer}"
            due.append((execution.id, timer))
            size += sizes.of_execution(execution)
            if bytes_max is not None and size > bytes_max:
                break
        return due

    def ready(self, pool: Component, owner: str, handlers: Collection[str], limit: int) -> list[Execution]:
        """The first in a pool's queue, of those whose handler is among these."""
        sql = f"""{EXECUTIONS.select} WHERE pool = ? AND owner = ? AND ready_at IS NOT NULL
                  AND handler IN (SELECT value FROM json_each(?))
                  ORDER BY resumes DESC, priority DESC, row LIMIT ?"""
        served = msgspec.json.encode(sorted(handlers)).decode()
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (pool, owner, served, limit))]

    def signals_in_line(self, row: int, name: str, limit: int) -> list[Signal]:
        # By the index, which SQLite would not choose: the primary key leads through all that was ever consumed.
        sql = f"""{INBOX.select} INDEXED BY inbox_in_line
                  WHERE execution_row = ? AND name = ? AND consumed = 0 AND set_aside IS NULL ORDER BY seq LIMIT ?"""
        return [INBOX.value(found) for found in self._connection.execute(sql, (row, name, limit))]

    def signal(self, row: int, seq: int) -> Signal | None:
        found = self._connection.execute(f"{INBOX.select} WHERE execution_row = ? AND seq = ?", (row, seq)).fetchone()
        return INBOX.value(found) if found else None

    def signal_by_request(self, row: int, request_id: str) -> Signal | None:
        sql = f"{INBOX.select} WHERE execution_row = ? AND request_id = ?"
        found = self._connection.execute(sql, (row, request_id)).fetchone()
        return INBOX.value(found) if found else None

    def give_back(self) -> bool:
        """Gives some of the pages that hold nothing back to the file system. Whether there may be more of them.

        The file is shorter after the next checkpoint. One of an earlier version keeps them for what is written next:
        see `maintenance.compact`.
        """
        if not self._may_give_back:
            return False
        free: Any = self._connection.pragma("freelist_count")
        pages = min(_PAGES_GIVEN_BACK, int(free) - _FREE_PAGES_KEPT)
        if pages > 0:
            self._connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        self._may_give_back = pages > 0
        return pages > 0

    # --- the one write

    def save(self, work: Work, index: int) -> None:
        """Saves all that a batch changed, and the log index it brings the store to, in one transaction.

        It is on disk after the next `database.sync`. apsw.Error: nothing was saved.
        """
        connection = self._connection
        has_timers = self.next_due_ms() is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._write(work, has_timers=has_timers)
            self._write_meta(work, index)
            self.visible_index = index
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._absent.clear()
        if work.timers or (has_timers and (work.timers_cleared or work.deleted)):
            self._due_is_known = False
        if work.deleted or work.cleared or work.clearings:
            self._may_give_back = self._shrinks
        for row in work.deleted:
            self._cache.forget(row)
            self._journals.close(row)
        self._lowest_epoch = work.lowest_epoch
        for row in work.renamed:
            self._cache.forget(row)
            self._waits.pop(row, None)  # it has ended: who waits for its next run waits for another row
        for execution in work.executions.values():
            self._follow_journal(execution)
            self._cache.put(execution)
        for row, (count, size) in work.growth.items():
            if (known := self.journal_sizes.get(row)) is not None:
                self.journal_sizes[row] = known[0] + count, known[1] + size
        for row, changed in work.operations.items():
            self._journals.update(row, changed)
            self._follow_waits(changed.values())
        self.applied_index = index
        self._last_row = work.last_row
        for place, change in work.counts.items():
            self._counts[place] += change
        self._nodes.saved(work)
        self.places.saved(work.places)

    def _write_meta(self, work: Work, index: int) -> None:
        if work.lowest_epoch != self._lowest_epoch:
            sql = "UPDATE meta SET lowest_epoch = ?, lowest_epoch_until_ms = ? WHERE one = 1"
            self._connection.execute(sql, work.lowest_epoch)
        if not work.counts:
            sql = "UPDATE meta SET applied_index = ?, last_row = ? WHERE one = 1"
            self._connection.execute(sql, (index, work.last_row))
            return
        counts = dict(self._counts)
        for place, change in work.counts.items():
            counts[place] = counts.get(place, 0) + change
        # In order: the stores of all nodes are the same, to the byte.
        told = msgspec.json.encode([(*place, count) for place, count in sorted(counts.items()) if count]).decode()
        sql = "UPDATE meta SET applied_index = ?, last_row = ?, counts = ? WHERE one = 1"
        self._connection.execute(sql, (index, work.last_row, told))

    def _follow_journal(self, execution: Execution) -> None:
        """A journal is kept while a worker host holds its execution. One that nobody ran before begins empty."""
        if not execution.attached:
            self._journals.close(execution.row)
            self.journal_sizes.pop(execution.row, None)
        elif execution.epoch == 1:
            former = self._cache.by_row.get(execution.row)
            if execution.row > self._last_row or (former is not None and former.epoch == 0):
                self._journals.open(execution.row)
                self.journal_sizes[execution.row] = (0, 0)

    def _follow_waits(self, changed: Iterable[Operation]) -> None:
        for wait in changed:
            if wait.kind is not OperationKind.WAIT or wait.target_row is None:
                continue
            waits = self._waits.setdefault(wait.target_row, {})
            if (former := waits.pop((wait.execution_row, wait.key), None)) is not None:
                self._waits_bytes -= sizes.of_operation(former)
            if wait.is_wait:
                waits[wait.execution_row, wait.key] = wait
                self._waits_bytes += sizes.of_operation(wait)
            elif not waits:
                del self._waits[wait.target_row]
        if self._waits_bytes > _WAITS_BYTES_MAX:
            self._waits.clear()
            self._waits_bytes = 0

    def _write(self, work: Work, *, has_timers: bool) -> None:
        """has_timers: there may be some to clear."""
        connection, last_row = self._connection, self._last_row
        if work.deleted:  # first: another one may have the id in the same batch
            delete(connection, work.deleted)
        if work.cleared:
            clear_whole(connection, work.cleared)
        if work.renamed:
            # They go first: another one takes their id in the same batch. By a statement of its own, since one that
            # names the id costs every update of a row its place in the index of ids.
            renamed = ((work.executions[row].id, row) for row in work.renamed if row <= last_row)
            connection.executemany("UPDATE executions SET id = ? WHERE row = ?", renamed)
        executions = sorted(work.executions.values(), key=attrgetter("row"))
        EXECUTIONS.update(connection, [execution for execution in executions if execution.row <= last_row])
        EXECUTIONS.insert(connection, [execution for execution in executions if execution.row > last_row])
        if work.slimmed:
            slimmed = [work.executions[row] for row in work.slimmed if row <= last_row]
            sql = "UPDATE executions SET arguments = ?, options = ? WHERE row = ?"
            given = [(each.arguments, to_json(each.options), each.row) for each in slimmed]
            connection.executemany(sql, given)
        if work.operations:
            OPERATIONS.upsert(connection, [op for changed in work.operations.values() for op in changed.values()])
        if work.attempts:
            ATTEMPTS.insert(connection, work.attempts)
            for place in work.attempts_capped:
                self._cap_attempts(place)
        if work.timers_cleared and has_timers:
            _CLEAR_TIMERS.run(connection, [(row,) for row in work.timers_cleared])
        if work.timers:
            self._write_timers(work)
        if work.inbox:
            INBOX.upsert(connection, [signal for changed in work.inbox.values() for signal in changed.values()])
        if work.outbox:
            _SEND.run(connection, [(s.execution_row, s.seq, s.name, s.payload, s.at_ms) for s in work.outbox])
        if work.nodes or work.sequences:
            self._nodes.write(work)
        for each in work.clearings:
            clear(connection, each)

    def _cap_attempts(self, place: tuple[int, OperationKind | None, str]) -> None:
        """Leaves the first and the last of them, and with the first of the last how many are gone before it."""
        sql = "SELECT rowid, left_out FROM attempts WHERE execution_row = ? AND kind IS ? AND key = ? ORDER BY rowid"
        kept: list[Any] = self._connection.execute(sql, place).fetchall()
        dropped = kept[ATTEMPTS_KEPT_FIRST:-ATTEMPTS_KEPT_LAST]
        if not dropped:
            return
        self._connection.executemany("DELETE FROM attempts WHERE rowid = ?", [(row,) for row, _ in dropped])
        row, left_out = kept[-ATTEMPTS_KEPT_LAST]
        left_out += sum(1 + before for _, before in dropped)
        self._connection.execute("UPDATE attempts SET left_out = ? WHERE rowid = ?", (left_out, row))

    def _write_timers(self, work: Work) -> None:
        timers = [(row, name, timer) for row, named in work.timers.items() for name, timer in named.items()]
        _CLEAR_TIMER.run(self._connection, [(row, name) for row, name, timer in timers if not timer])
        TIMERS.upsert(self._connection, [timer for _, _, timer in timers if timer])


def claim_store(connection: apsw.Connection, node_id: str, cluster: str | None = None) -> None:
    """Makes a new store this node's, in this cluster (None: alone), and refuses one that is not.

    ValueError: the store belongs to another node or to another log. It is left as it is.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("INSERT INTO meta (one, applied_index, last_row) VALUES (1, 0, 0) ON CONFLICT DO NOTHING")
        if message := foreign(connection, node_id, cluster):
            raise ValueError(message)
        connection.execute("UPDATE meta SET node_id = ?, cluster = ? WHERE one = 1", (node_id, cluster))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def foreign(connection: apsw.Connection, node_id: str, cluster: str | None) -> str | None:
    """Why the store is not this node's, in this cluster; None: it is, or nobody's yet."""
    row: Any = connection.execute("SELECT node_id, cluster, applied_index FROM meta WHERE one = 1").fetchone()
    owner, former, applied = row or (None, None, 0)
    if owner is not None and owner != node_id:
        return f"the store belongs to node {owner!r}, not to {node_id!r}"
    if (owner is not None or applied) and former != cluster:
        return f"the store was written by {_writer(former)}, and this is {_writer(cluster)}"
    return None


def _writer(cluster: str | None) -> str:
    return "a node that is alone" if cluster is None else f"a node of cluster {cluster!r}"
