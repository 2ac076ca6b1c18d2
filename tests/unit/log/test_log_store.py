"""What a journal keeps over a crash, and what it refuses to open."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempolite_node.log.raft.entries import Kind, LogEntry, Member, RequestId, encode_members, pack
from tempolite_node.log.raft.errors import LogStoreFailed, LogStoreUnusable
from tempolite_node.log.raft.log_file import LogFile
from tempolite_node.log.raft.log_store import LogStore, Phase, SnapshotMark

MEMBERS = (Member("n1", "h1:1"), Member("n2", "h2:1"), Member("n3", "h3:1"))
Open = Callable[[], LogStore]


def command(number: int, kind: Kind = Kind.DATA, data: bytes = b"") -> bytes:
    return pack(kind, RequestId(number.to_bytes(16, "big")), data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "raft.db"


@pytest.fixture
def reopen(path: Path) -> Open:
    """Opens the journal, as after a crash: whatever the last one had not synced is gone."""
    opened: list[LogFile] = []

    def reopen() -> LogStore:
        for file in opened:
            file.close()
        opened[:] = [open_file(path)]
        return LogStore(opened[0], MEMBERS)

    return reopen


def open_file(path: Path, *, cluster: str = "c", node_id: str = "n1") -> LogFile:
    return LogFile(path, cluster=cluster, node_id=node_id)


def filled(journal: LogStore, count: int = 9, term: int = 1) -> LogStore:
    for _ in range(count):
        index = journal.last.index + 1
        journal.add(command(index), index, term)
    journal.setCurrentTerm(term, "n2")
    journal.sync()
    return journal


def test_a_new_journal_starts_with_the_entry_that_all_have(reopen: Open) -> None:
    journal = reopen()
    assert (journal.first, len(journal)) == (LogEntry(b"\x01", 1, 0), 1)
    assert journal.state.phase is Phase.NEW
    assert journal.configurations.current == MEMBERS


def test_what_was_synced_is_there_after_a_crash_and_nothing_else(reopen: Open) -> None:
    journal = filled(reopen())
    journal.setRaftCommitIndex(7)
    journal.setCurrentTerm(4, "n3")
    journal.sync()
    journal.add(command(99), 11, 4)
    journal.setCurrentTerm(5, None)

    journal = reopen()
    assert [entry.index for entry in journal[:]] == list(range(1, 11))
    assert (journal.state.term, journal.state.voted_for, journal.state.commit_index) == (4, "n3", 7)


def test_a_sync_without_anything_to_rely_on_writes_nothing(reopen: Open) -> None:
    journal = filled(reopen())
    before = journal.syncs
    journal.setRaftCommitIndex(5)
    journal.sync()
    assert journal.syncs == before


def test_entries_that_were_cut_off_do_not_come_back(reopen: Open) -> None:
    journal = filled(reopen())
    journal.deleteEntriesFrom(4)
    journal.add(command(55), 5, 2)
    journal.sync()
    journal = reopen()
    assert [(entry.index, entry.term) for entry in journal[-2:]] == [(4, 1), (5, 2)]
    assert journal.size_bytes == sum(len(entry.command) for entry in journal[:])


def test_compaction_goes_along_with_the_next_sync_and_keeps_the_members_of_the_first_entry(reopen: Open) -> None:
    journal = filled(reopen())
    journal.add(command(11, Kind.MEMBERS, encode_members(MEMBERS[:2])), 11, 1)
    journal.add(command(12), 12, 1)
    journal.compact_to(12)
    journal.sync()
    journal = reopen()
    assert (journal.first.index, journal.last.index) == (12, 12)
    assert journal.configurations.current == MEMBERS[:2]


def test_members_are_those_of_the_last_entry_that_says_so_until_it_is_cut_off(reopen: Open) -> None:
    journal = filled(reopen())
    journal.add(command(11, Kind.MEMBERS, encode_members(MEMBERS[:2])), 11, 1)
    assert journal.configurations.current == MEMBERS[:2]
    assert journal.configurations.at(10) == MEMBERS
    journal.deleteEntriesFrom(10)
    assert len(journal.configurations.current) == 3


def test_a_snapshot_keeps_what_follows_it_if_it_is_the_same_history(reopen: Open) -> None:
    journal = filled(reopen())
    journal.restart_at(SnapshotMark(6, 1, MEMBERS))
    journal.sync()
    journal = reopen()
    assert (journal.first.index, journal.last.index, journal.state.commit_index) == (6, 10, 6)


def test_a_snapshot_takes_the_place_of_another_history(reopen: Open) -> None:
    journal = filled(reopen())
    journal.restart_at(SnapshotMark(6, 3, MEMBERS[1:]))
    journal.sync()
    journal = reopen()
    assert [(entry.index, entry.term) for entry in journal[:]] == [(6, 3)]
    assert journal.configurations.current == MEMBERS[1:]


# --- what is refused


def test_a_journal_of_another_node_is_refused(path: Path, reopen: Open) -> None:
    filled(reopen()).close()
    with pytest.raises(LogStoreUnusable, match="journal of node 'n1' in cluster 'c', and not of 'n2' in 'c'"):
        open_file(path, node_id="n2").load()


def test_a_journal_of_another_cluster_is_refused(path: Path, reopen: Open) -> None:
    filled(reopen()).close()
    with pytest.raises(LogStoreUnusable, match="in cluster 'c', and not of 'n1' in 'd'"):
        open_file(path, cluster="d").load()


def test_a_foreign_database_is_refused_and_left_as_it_is(path: Path) -> None:
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY)")
    foreign.close()
    with pytest.raises(LogStoreUnusable, match="not a journal of Tempolite Node"):
        open_file(path)
    assert apsw.Connection(str(path)).execute("SELECT name FROM sqlite_schema").fetchall() == [("accounts",)]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"these are not the pages you are looking for" * 100)
    with pytest.raises(LogStoreUnusable, match=r"can't be opened: .*not a database"):
        open_file(path)


def test_a_journal_of_a_later_version_is_refused(path: Path, reopen: Open) -> None:
    filled(reopen()).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 7)
    connection.close()
    with pytest.raises(LogStoreUnusable, match="has version 7, this program knows 1"):
        open_file(path)


def test_a_journal_in_use_is_refused(path: Path, reopen: Open) -> None:
    filled(reopen())
    with pytest.raises(LogStoreUnusable, match="another process uses this journal"):
        open_file(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE entries SET command = x'00ff' WHERE log_index = 5", "entry 5 does not match its checksum"),
        ("UPDATE entries SET term = 9 WHERE log_index = 5", "entry 5 does not match its checksum"),
        ("DELETE FROM entries WHERE log_index = 5", "entry 6 of term 1 follows"),
        ("UPDATE node SET state = x'80'", "state does not match its checksum"),
        ("DELETE FROM node", "no state of a node"),
        ("DELETE FROM entries", "no entry"),
    ],
)
def test_a_damaged_journal_is_refused_and_says_where(path: Path, reopen: Open, damage: str, message: str) -> None:
    filled(reopen()).close()
    connection = apsw.Connection(str(path))
    connection.execute(damage)
    connection.close()
    with pytest.raises(LogStoreUnusable, match=message):
        open_file(path).load()


def test_flipped_bits_never_go_unnoticed(path: Path, reopen: Open, tmp_path: Path) -> None:
    """Anywhere in the file: the journal opens with what it had, or is refused."""
    journal = filled(reopen(), count=200)
    had = journal[:]
    journal.close()
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.db"
    for place in range(100, len(whole), 97):
        damaged.write_bytes(whole[:place] + bytes((whole[place] ^ 0x10,)) + whole[place + 1 :])
        try:
            file = open_file(damaged)
        except LogStoreUnusable:
            continue
        try:
            stored = file.load()
            assert stored is not None
            assert stored.entries == had
        except LogStoreUnusable:
            pass
        finally:
            file.close()


def test_a_full_disk_fails_the_sync_and_loses_nothing_from_before(path: Path) -> None:
    file = open_file(path)
    journal = filled(LogStore(file, MEMBERS))
    file._connection.pragma("max_page_count", 8)
    journal.add(command(11, data=b"x" * 100_000), 11, 1)
    with pytest.raises(LogStoreFailed, match=r"can't be written: .*full"):
        journal.sync()
    file.close()
    assert LogStore(open_file(path), MEMBERS).last.index == 10


_WRITER = """
import sys
from pathlib import Path
from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.log_store import LogStore
from tempolite_node.log.raft.log_file import LogFile
journal = LogStore(LogFile(Path(sys.argv[1]), cluster="c", node_id="n1"), (Member("n1", "h:1"),))
while True:
    for _ in range(5):
        index = journal.last.index + 1
        journal.add(b"\\x00" + index.to_bytes(16, "big") + b"x" * 500, index, 1)
    if journal.last.index % 3 == 0:
        journal.compact_to(journal.last.index)
    journal.sync()
    print(journal.last.index, flush=True)
"""


def test_what_a_killed_process_had_synced_is_there(path: Path) -> None:
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        synced = [int(writer.stdout.readline()) for _ in range(20 + 7 * round_)][-1]
        writer.send_signal(signal.SIGKILL)
        synced = max([synced, *map(int, writer.stdout.read().split())])
        writer.wait()
        file = open_file(path)
        assert LogStore(file, MEMBERS).last.index >= synced
        file.close()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("cut"), st.integers(1, 8)),
        st.tuples(st.just("compact"), st.integers(1, 8)),
        st.tuples(st.just("snapshot"), st.integers(1, 20)),
        st.tuples(st.just("sync"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_after_any_operations_the_file_holds_what_the_last_sync_saw(
    tmp_path: Path, operations: list[tuple[str, int]]
) -> None:
    directory = tmp_path / "run"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    file = LogFile(directory / "j.db", cluster="c", node_id="n1", synchronous="off")
    journal = LogStore(file, MEMBERS)
    for term, (operation, number) in enumerate([*operations, ("sync", 0)], start=1):
        match operation:
            case "add":
                for _ in range(number):
                    journal.add(command(journal.last.index + 1), journal.last.index + 1, term)
            case "cut" if len(journal) > 1:
                journal.deleteEntriesFrom(max(1, len(journal) - number))
            case "compact":
                journal.compact_to(min(journal.first.index + number, journal.last.index))
            case "snapshot":
                journal.restart_at(SnapshotMark(journal.first.index + number, max(1, journal.last.term), MEMBERS))
            case _:
                journal.update()  # compaction alone is in no hurry, and goes along with something that is
                journal.sync()
    saved, state = journal[:], journal.state
    file.close()
    reopened = LogFile(directory / "j.db", cluster="c", node_id="n1", synchronous="off")
    stored = reopened.load()
    reopened.close()
    assert stored is not None
    assert (stored.entries, stored.state) == (saved, state)
