"""What an operator has done to a store's file: copied while its node runs, looked through, put back, and mended.

See docs/design/checksums.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tempolite_node.engine.model import FINAL
from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import (
    check_store,
    copy_pages,
    explained,
    open_copy,
    open_reader,
    open_unverified,
    open_writer,
    sync_directory,
)
from tempolite_node.store.rows import ATTEMPTS, EXECUTIONS, INBOX, NODES, OPERATIONS, TIMERS
from tempolite_node.system import sync_file

#: The page that has it holds nothing; see https://sqlite.org/fileformat.html#the_lock_byte_page
_LOCK_BYTE = 0x4000_0000

_NAMED_MAX = 10  #: problems of a store that one message has room for

Told = Callable[[int, int], object]  #: of pages that are done, and of all


def back_up(store: Path, to: Path, *, told: Told) -> None:
    """Copies the store as of its last commit to a new file, which is on disk when this returns, or is not there.

    A node may write to the store meanwhile; its WAL grows until this is done. StorageFailed: a page does not match its
    checksum, or a file can't be read or written.
    """
    try:
        with _appearing(to) as part:
            _copy(store, part, told, still=False)
    except (apsw.Error, OSError) as error:
        raise StorageFailed(f"{store}: can't be copied to {to}: {explained(error)}") from error


@contextmanager
def _appearing(to: Path) -> Iterator[Path]:
    """A file to be written in the place of one that is not there: it is there, on disk, once all went well.

    Who writes another one to the same place meanwhile has a file of its own. StorageFailed: there is one already.
    """
    part = to.with_name(f"{to.name}.{os.getpid()}.part")
    _refuse_to_replace(to)
    part.unlink(missing_ok=True)
    try:
        yield part
        with part.open("rb") as written:
            sync_file(written.fileno())
        _refuse_to_replace(to)
        part.replace(to)
        sync_directory(to.parent)
    finally:
        for file in (part, *_beside(part)):
            file.unlink(missing_ok=True)


def _refuse_to_replace(to: Path) -> None:
    if to.exists():
        raise StorageFailed(f"{to}: there is a file already")


def _beside(store: Path) -> tuple[Path, Path]:
    """What SQLite keeps beside it while it is open."""
    return store.with_name(f"{store.name}-wal"), store.with_name(f"{store.name}-shm")


def _copy(store: Path, to: Path, told: Told, *, still: bool) -> None:
    with closing(open_reader(store, still=still)) as source:
        check_store(source, store)
        source.execute("BEGIN; SELECT count(*) FROM meta").fetchall()  # from here on it reads what is there now
        with closing(open_copy(to)) as target:
            copy_pages(source, target, to, told)


def restore(backup: Path, store: Path, *, told: Told) -> None:
    """Makes a copy of the backup the store of a node that has none. It is there as a whole, or not at all.

    StorageFailed: there is a store, the backup is not sound, or it is of a cluster.
    """
    for file in (store, *_beside(store)):
        if file.exists():  # the WAL of a lost store would be read as that of the new one
            raise StorageFailed(f"{file}: there is a store already, or a part of one: move it away first")
    if problems := list(problems_of(backup)):
        raise StorageFailed(f"{backup}: is not sound: {_named(problems)}. Nothing was restored")
    try:
        with _appearing(store) as part:
            _copy(backup, part, told, still=_is_still(backup))
            with closing(open_writer(part)) as connection:  # of the schema of this version, before a node needs it
                connection.pragma("wal_checkpoint", "TRUNCATE")
                cluster = connection.execute("SELECT cluster FROM meta WHERE one = 1").get
            if cluster is not None:
                raise StorageFailed(
                    f"{backup}: is of a node of cluster {cluster!r}: it can't be put back, as the log that the nodes "
                    "share has gone on. A node whose disk is lost gets everything from the others"
                )
    except (apsw.Error, OSError) as error:
        raise StorageFailed(f"{backup}: can't be restored: {explained(error)}") from error


def repair(path: Path, *, accept: bool) -> list[str]:
    """Gives every page its checksum again. Returns the pages that did not match theirs.

    That another program wrote them, be it a checkpoint of SQLite's own shell after a crash of the node, can't be told
    from the disk having changed them. So it takes somebody who accepts what they say now.

    StorageFailed: nobody does, or the pages contradict each other. Nothing was changed.
    """
    try:
        with closing(open_unverified(path)) as connection:
            broken = list(broken_pages(connection, path, lambda _done, _all: None))
            if problems := list(_whole(connection)):
                raise StorageFailed(f"{path}: the store is damaged; restore a backup. {_named(problems)}")
            if broken and not accept:
                raise StorageFailed(
                    f"{path}: {_named(broken)}. Either another program wrote to the store, and what they say is right, "
                    "or the disk changed them: that can't be told. Restore a backup, or take what they say: --accept"
                )
            connection.execute("VACUUM")
            connection.pragma("wal_checkpoint", "TRUNCATE")
    except (apsw.Error, OSError) as error:
        raise StorageFailed(f"{path}: the store can't be repaired: {error}") from error
    return broken


def compact(path: Path) -> tuple[int, int]:
    """Writes the store anew, without the pages that hold nothing. Returns its bytes before and after.

    From then on it gives back by itself what is deleted, as a store does that this version made. StorageFailed: it is
    not sound, or there is no room for a second one.
    """
    before = path.stat().st_size
    try:
        with closing(open_writer(path)) as connection:
            connection.pragma("auto_vacuum", "incremental")
            connection.execute("VACUUM")
            connection.pragma("wal_checkpoint", "TRUNCATE")
    except (apsw.Error, OSError) as error:
        raise StorageFailed(f"{path}: the store can't be compacted: {explained(error)}") from error
    return before, path.stat().st_size


def _named(problems: list[str]) -> str:
    more = len(problems) - _NAMED_MAX
    return "; ".join(problems[:_NAMED_MAX]) + (f"; and {more:,} more" if more > 0 else "")


def _is_still(file: Path) -> bool:
    """Whether it is whole by itself, as a backup is: who opens a store to write makes a WAL beside it."""
    return not _beside(file)[0].exists()


def problems_of(file: Path, told: Told = lambda _done, _all: None) -> Iterator[str]:
    """What is wrong with a store that nobody writes to: its pages, what they say as a whole, and each row by itself.

    StorageFailed: it is no store, or of a later version.
    """
    try:
        with closing(open_reader(file, still=_is_still(file), verified=False)) as connection:
            broken = list(broken_pages(connection, file, told))
            yield from broken
            latest = check_store(connection, file)
            yield from _whole(connection)
            if latest and not broken:
                yield from _rows(connection)
                yield from _counts(connection)
    except (apsw.Error, OSError) as error:
        yield explained(error)


def broken_pages(connection: apsw.Connection, file: Path, told: Told) -> Iterator[str]:
    """Pages that do not match their checksum, each with the table or index whose it is, if that can be told.

    The connection reads such pages.
    """
    size: Any = connection.pragma("page_size")
    pages = file.stat().st_size // size
    owners: dict[int, str] | None = None
    looked_up = False
    with file.open("rb") as content:
        for number in range(1, pages + 1):
            page = content.read(size)
            if not number % 1_000 or number == pages:
                told(number, pages)
            is_held = (number - 1) * size == _LOCK_BYTE
            if is_held or connection.execute("SELECT verify_checksum(?)", (page,)).get == 1:
                continue
            if not looked_up:
                owners, looked_up = _owners(connection), True
            of = "of what, is not known" if owners is None else owners.get(number, "in no table")
            yield f"page {number} ({of}) does not match its checksum"


def _owners(connection: apsw.Connection) -> dict[int, str] | None:
    """The table or index of each page that one has. None: what the pages say does not hold together."""
    try:
        return dict(connection.execute("SELECT pageno, name FROM dbstat"))
    except apsw.Error:
        return None


def _whole(connection: apsw.Connection) -> Iterator[str]:
    for (problem,) in connection.execute("PRAGMA integrity_check(100)"):
        if problem != "ok":
            yield str(problem)
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{table}: {'a row' if row is None else f'row {row}'} is of one of {parent} that is not there"


def _rows(connection: apsw.Connection) -> Iterator[str]:
    for table in (EXECUTIONS, OPERATIONS, ATTEMPTS, INBOX, TIMERS, NODES):
        for number, row in enumerate(connection.execute(table.select), start=1):
            try:
                table.value(row)
            except Exception as error:  # whatever the bytes are
                yield f"{table.name}: row {number} can't be read: {type(error).__name__}: {error}"


def _counts(connection: apsw.Connection) -> Iterator[str]:
    kept: Any = connection.execute("SELECT counts FROM meta WHERE one = 1").get
    if kept is None:
        yield "meta: its row is missing"
        return
    found = Counter(
        {
            tuple(of): number
            for *of, number in connection.execute(
                "SELECT owner, component, status, count(*) FROM executions GROUP BY owner, component, status"
            )
        }
    )
    told = Counter({tuple(of): number for *of, number in msgspec.json.decode(kept)})
    for of in sorted(found | told):
        # Of what has ended, those that were deleted count as well.
        if found[of] > told[of] or (found[of] != told[of] and of[-1] not in FINAL):
            yield f"meta: {told[of]:,} executions are counted as {', '.join(map(str, of))}, and {found[of]:,} are"
