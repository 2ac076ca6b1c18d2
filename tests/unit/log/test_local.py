"""What a node that is alone lets out, and when: nothing before it is on disk, and in the order of the rounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue

import pytest

from tempolite_node.errors import StorageFailed
from tempolite_node.log.local import LocalLog


class Machine:
    """What is saved has nothing to do with when it is let out."""

    applied_index = 0


class Disk:
    """Each sync begins, and ends when the test lets it."""

    def __init__(self) -> None:
        self.syncs: SimpleQueue[str] = SimpleQueue()  #: name of the thread of each that has begun
        self.ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def sync(self) -> None:
        self.syncs.put(threading.current_thread().name)
        error = self.ends.get(timeout=10)
        if error is not None:
            raise error


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def posted() -> SimpleQueue[Callable[[], None]]:
    return SimpleQueue()


@pytest.fixture
def log(disk: Disk, posted: SimpleQueue[Callable[[], None]]) -> Iterator[LocalLog]:
    log = LocalLog(Machine(), lambda: 0, sync=disk.sync, post=posted.put)  # type: ignore[arg-type]
    log.start()
    yield log
    with suppress(StorageFailed):  # told to the test by then
        log.stop()


@pytest.fixture
def out() -> SimpleQueue[str]:
    return SimpleQueue()


def lets_out(log: LocalLog, out: SimpleQueue[str], name: str, *, idle: bool = False, saved: bool = True) -> None:
    if saved:
        log.saved()
    log.when_durable(lambda: out.put(name), idle=idle)


def test_nothing_is_let_out_before_the_disk_has_it(log: LocalLog, disk: Disk, out: SimpleQueue[str]) -> None:
    lets_out(log, out, "first")
    assert disk.syncs.get(timeout=10) == "sync"
    assert out.empty()

    disk.ends.put(None)

    assert out.get(timeout=10) == "first"


def test_one_sync_is_for_all_that_was_saved_while_the_one_before_it_ran(
    log: LocalLog, disk: Disk, out: SimpleQueue[str]
) -> None:
    lets_out(log, out, "first")
    disk.syncs.get(timeout=10)
    for name in ("second", "third", "fourth"):
        lets_out(log, out, name)

    disk.ends.put(None)
    disk.ends.put(None)

    assert [out.get(timeout=10) for _ in range(4)] == ["first", "second", "third", "fourth"]
    assert disk.syncs.qsize() == 1


def test_a_driver_that_has_nothing_else_to_do_syncs_by_itself(log: LocalLog, disk: Disk, out: SimpleQueue[str]) -> None:
    disk.ends.put(None)

    lets_out(log, out, "only", idle=True)

    assert out.get_nowait() == "only"
    assert disk.syncs.get_nowait() == threading.current_thread().name


def test_what_saved_nothing_needs_no_sync(log: LocalLog, disk: Disk, out: SimpleQueue[str]) -> None:
    lets_out(log, out, "answer", saved=False)

    assert out.get_nowait() == "answer"
    assert disk.syncs.empty()


@pytest.mark.parametrize("idle", [True, False])
def test_what_saved_nothing_waits_its_turn_behind_what_did(
    log: LocalLog, disk: Disk, out: SimpleQueue[str], idle: bool
) -> None:
    lets_out(log, out, "saved")
    disk.syncs.get(timeout=10)

    lets_out(log, out, "answer", saved=False, idle=idle)
    assert out.empty()
    disk.ends.put(None)

    assert [out.get(timeout=10), out.get(timeout=10)] == ["saved", "answer"]
    assert disk.syncs.empty()


def test_an_idle_driver_does_not_overtake_what_waits(log: LocalLog, disk: Disk, out: SimpleQueue[str]) -> None:
    lets_out(log, out, "first")
    disk.syncs.get(timeout=10)

    lets_out(log, out, "second", idle=True)
    disk.ends.put(None)
    disk.ends.put(None)

    assert [out.get(timeout=10), out.get(timeout=10)] == ["first", "second"]


def test_what_a_failing_disk_may_have_lost_is_never_let_out_and_the_driver_hears_of_it(
    log: LocalLog, disk: Disk, out: SimpleQueue[str], posted: SimpleQueue[Callable[[], None]]
) -> None:
    lets_out(log, out, "first")
    lets_out(log, out, "second")

    disk.ends.put(StorageFailed("the disk is gone"))

    with pytest.raises(StorageFailed, match="the disk is gone"):
        posted.get(timeout=10)()
    lets_out(log, out, "third", idle=True)
    assert out.empty()
    with pytest.raises(StorageFailed, match="the disk is gone"):
        log.stop()


def test_a_disk_that_fails_when_the_driver_is_gone_is_heard_of_too(
    log: LocalLog, disk: Disk, out: SimpleQueue[str]
) -> None:
    lets_out(log, out, "last")
    disk.ends.put(StorageFailed("the disk is gone"))

    with pytest.raises(StorageFailed, match="the disk is gone"):
        log.stop()

    assert out.empty()


def test_all_that_was_saved_is_out_when_the_log_has_stopped(log: LocalLog, disk: Disk, out: SimpleQueue[str]) -> None:
    for name in ("first", "second"):
        lets_out(log, out, name)
        disk.ends.put(None)

    log.stop()

    assert [out.get_nowait(), out.get_nowait()] == ["first", "second"]
