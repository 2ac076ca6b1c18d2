"""What an operator has done to a store: a backup while it is written to, verification, restoring, repair."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import open_reader, open_unverified, open_writer
from tempolite_node.store.maintenance import back_up, broken_pages, problems_of, repair, restore
from tempolite_node.store.writer import claim_store

from .filled import ADDRESS, ROWS, close, fill_store, flip_a_bit, read_everything, write_by_another_program

PAGE = 4_096


def _nothing(_done: int, _all: int) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> Path:
    fill_store(tmp_path / "store.db")
    return tmp_path / "store.db"


def lose(store: Path) -> None:
    for file in store.parent.glob(f"{store.name}*"):
        file.unlink()


def page_of(store: Path, table: str) -> int:
    """Number of one of its pages that hold rows."""
    reader = open_reader(store, still=True)
    found = reader.execute("SELECT max(pageno) FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,)).get
    reader.close()
    return int(found)


def flip_a_value(store: Path) -> int:
    """A bit of an address, which nothing else tells of. Returns the number of its page."""
    page = page_of(store, "nodes")
    flip_a_bit(store, store.read_bytes().index(ADDRESS.encode(), (page - 1) * PAGE) + 3)
    return page


# --- backups


def test_a_backup_is_the_store_as_of_now_in_one_file_whatever_is_written_meanwhile(store: Path, tmp_path: Path) -> None:
    writer = open_writer(store)
    writer.execute("UPDATE nodes SET sequence = 1")
    steps: list[bool] = []

    def write(done: int, all: int) -> None:
        steps.append(done < all)
        writer.execute("UPDATE nodes SET sequence = sequence + 1")

    (tmp_path / "there").mkdir()
    backup = tmp_path / "there" / "copy.db"
    back_up(store, backup, told=write)

    assert steps == [True, False], "it was written to in the middle"
    assert [each.name for each in backup.parent.iterdir()] == ["copy.db"]
    assert list(problems_of(backup)) == []
    written = "SELECT min(sequence), max(sequence) FROM nodes"
    assert open_reader(backup, still=True).execute(written).get == (1, 1)
    assert writer.execute(written).get > (1, 1)


def test_a_backup_does_not_replace_a_file(store: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_text("something else")
    with pytest.raises(StorageFailed, match=r"there\.db: there is a file already"):
        back_up(store, there, told=_nothing)
    assert there.read_text() == "something else"
    assert not list(tmp_path.glob("there.db.*"))


def test_two_backups_to_one_place_do_not_mix(store: Path, tmp_path: Path) -> None:
    # given one that is under way when another process has made the file
    def made_by_another(done: int, all: int) -> None:
        if done < all:
            (tmp_path / "copy.db").write_text("the other one's")

    with pytest.raises(StorageFailed, match=r"copy\.db: there is a file already"):
        back_up(store, tmp_path / "copy.db", told=made_by_another)

    assert (tmp_path / "copy.db").read_text() == "the other one's"
    assert not list(tmp_path.glob("*.part*"))


def test_a_backup_of_a_page_that_the_disk_has_changed_fails_and_leaves_no_file(store: Path, tmp_path: Path) -> None:
    flip_a_value(store)
    with pytest.raises(StorageFailed, match="does not match its checksum"):
        back_up(store, tmp_path / "copy.db", told=_nothing)
    assert not list(tmp_path.glob("copy*"))


def test_a_backup_of_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"nothing\.db: can't be copied"):
        back_up(tmp_path / "nothing.db", tmp_path / "copy.db", told=_nothing)
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("CREATE TABLE t (x)")
    with pytest.raises(StorageFailed, match=r"other\.db: this is an SQLite file, but not a store"):
        back_up(other, tmp_path / "copy.db", told=_nothing)


# --- verification


def test_each_page_that_was_changed_is_named_with_its_table(store: Path) -> None:
    page = flip_a_value(store)
    assert list(problems_of(store)) == [f"page {page} (nodes) does not match its checksum"]


def test_a_copy_without_checksums_is_told_page_by_page(store: Path, tmp_path: Path) -> None:
    copy = apsw.Connection(str(tmp_path / "copy.db"), vfs="unix")
    with copy.backup("main", apsw.Connection(str(store), apsw.SQLITE_OPEN_READONLY, "unix"), "main") as backup:
        backup.step()
    copy.execute("UPDATE nodes SET incarnation = 2")
    close(copy)
    problems = list(problems_of(tmp_path / "copy.db"))
    assert len(problems) > 100
    assert all("does not match its checksum" in problem for problem in problems)


def test_a_free_page_that_was_changed_is_named_too(store: Path) -> None:
    page = page_of(store, "nodes")
    writer = open_writer(store)
    writer.execute("DELETE FROM nodes")
    close(writer)
    flip_a_bit(store, (page - 1) * PAGE + 2_000)
    assert list(problems_of(store)) == [f"page {page} (in no table) does not match its checksum"]


def test_a_page_that_no_table_leads_to_any_more_is_not_called_free(store: Path) -> None:
    # given a table whose first page has lost its last one
    last = page_of(store, "nodes")
    reader = open_reader(store, still=True)
    first = int(reader.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'nodes'").get)
    reader.close()
    content = bytearray(store.read_bytes())
    last_child = (first - 1) * PAGE + 8
    content[last_child : last_child + 4] = bytes(4)
    store.write_bytes(content)
    flip_a_bit(store, (last - 1) * PAGE + 2_000)

    told = list(problems_of(store))

    assert f"page {first} (nodes) does not match its checksum" in told
    assert f"page {last} (in no table) does not match its checksum" in told


def test_whose_a_page_is_is_not_guessed_where_that_can_not_be_read(store: Path) -> None:
    page = flip_a_value(store)
    with closing(open_unverified(store)) as connection:
        connection.authorizer = lambda _act, table, *_: apsw.SQLITE_DENY if table == "dbstat" else apsw.SQLITE_OK
        told = list(broken_pages(connection, store, _nothing))
    assert told == [f"page {page} (of what, is not known) does not match its checksum"]


def test_rows_and_counts_that_can_not_be_are_named(store: Path) -> None:
    writer = open_writer(store)
    writer.execute("UPDATE nodes SET handlers = 'no json' WHERE id = 'n0'")
    writer.execute("""UPDATE meta SET counts = '[["n1", "handler", "running", 3]]'""")
    close(writer)

    rows, counts = problems_of(store)

    assert rows.startswith("nodes: row 1 can't be read: DecodeError")
    assert counts == "meta: 3 executions are counted as n1, handler, running, and 0 are"


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database at all, whatever its name says")
    assert list(problems_of(file)) == ["file is not a database"]
    (tmp_path / "empty.db").touch()
    with pytest.raises(StorageFailed, match="not a store"):
        list(problems_of(tmp_path / "empty.db"))


# --- restoring


def test_a_backup_becomes_the_store_and_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    back_up(store, tmp_path / "copy.db", told=_nothing)
    content = (tmp_path / "copy.db").read_bytes()
    lose(store)

    restore(tmp_path / "copy.db", store, told=_nothing)

    assert read_everything(store) == ROWS * len(ADDRESS)
    assert (tmp_path / "copy.db").read_bytes() == content
    claim_store(open_writer(store), "n1")


@pytest.mark.parametrize("left", ["store.db", "store.db-wal", "store.db-shm"])
def test_nothing_is_restored_over_a_store_or_beside_what_is_left_of_one(store: Path, tmp_path: Path, left: str) -> None:
    back_up(store, tmp_path / "copy.db", told=_nothing)
    lose(store)
    (tmp_path / left).write_bytes(b"left")
    with pytest.raises(StorageFailed, match=f"{left}: there is a store already, or a part of one"):
        restore(tmp_path / "copy.db", store, told=_nothing)
    assert (tmp_path / left).read_bytes() == b"left"


def test_a_backup_that_is_not_sound_is_not_restored(store: Path, tmp_path: Path) -> None:
    back_up(store, tmp_path / "copy.db", told=_nothing)
    flip_a_value(tmp_path / "copy.db")
    lose(store)
    with pytest.raises(StorageFailed, match=r"not sound: page \d+ \(nodes\) does not match"):
        restore(tmp_path / "copy.db", store, told=_nothing)
    assert not store.exists()


def test_a_backup_of_a_clusters_node_is_not_restored(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "member.db")
    claim_store(writer, "n1", "c")
    writer.close()
    back_up(tmp_path / "member.db", tmp_path / "copy.db", told=_nothing)
    with pytest.raises(StorageFailed, match="of a node of cluster 'c'"):
        restore(tmp_path / "copy.db", tmp_path / "store.db", told=_nothing)
    assert not list(tmp_path.glob("store.db*"))


# --- repair


def test_repair_names_what_it_can_not_prove_and_changes_nothing_until_that_is_accepted(store: Path) -> None:
    write_by_another_program(store)
    content = store.read_bytes()

    with pytest.raises(StorageFailed, match=r"page \d+ \(\w+\) does not match its checksum.*--accept"):
        repair(store, accept=False)
    assert store.read_bytes() == content

    accepted = repair(store, accept=True)
    assert all("does not match its checksum" in each for each in accepted)
    assert accepted
    assert read_everything(store) == ROWS * len(ADDRESS)
    assert list(problems_of(store)) == []


def test_a_bit_that_the_disk_flipped_is_not_called_sound(store: Path) -> None:
    page = flip_a_value(store)
    with pytest.raises(StorageFailed, match=rf"page {page} \(nodes\) does not match its checksum"):
        repair(store, accept=False)


def test_repair_of_a_sound_store_accepts_nothing(store: Path) -> None:
    assert repair(store, accept=False) == []


@pytest.mark.parametrize("accept", [False, True])
def test_repair_leaves_a_damaged_store_as_it_is(store: Path, accept: bool) -> None:
    content = bytearray(store.read_bytes())
    content[len(content) // 2 : len(content) // 2 + PAGE] = b"\xff" * PAGE
    store.write_bytes(content)
    with pytest.raises(StorageFailed, match="damaged"):
        repair(store, accept=accept)
    assert store.read_bytes() == content
