"""The data directory of a node: private to its user, and to one daemon at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tempolite_node.errors import StartError

STORE = "store.db"
ADDRESS = "address"  #: what the API listens on, once it does
ALIVE = "alive"  #: as old as the last sign of life of the daemon; gone when it was stopped


class DataDir:
    """Locked from `open` to the end of the process, however that comes about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the directory if it is not there. StartError: it can't be used, or another daemon uses it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{self.path}: the data directory can't be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StartError(f"{self.path}: another daemon uses this data directory") from error
        self._lock = lock

    @property
    def store(self) -> Path:
        return self.path / STORE

    def write_address(self, address: str) -> None:
        self._write(ADDRESS, address)

    def last_alive_ms(self) -> int | None:
        """When the last daemon gave its last sign of life, if it died without a word."""
        try:
            return round((self.path / ALIVE).stat().st_mtime * 1_000)
        except OSError:
            return None

    def give_sign_of_life(self, now_ms: int) -> None:
        """Not synced: it is for the end of the process, not of the machine."""
        path, now_s = self.path / ALIVE, now_ms / 1_000
        with suppress(OSError):  # without signs, nothing is held to blame for the end
            path.touch(mode=0o600)
            os.utime(path, (now_s, now_s))

    def stops(self) -> None:
        """The daemon ends because it was told to, or says why: nothing that it runs is to blame."""
        (self.path / ALIVE).unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, so that whoever waits for the file never reads half of it."""
        written = self.path / f"{name}.new"
        written.write_text(text + "\n")
        written.replace(self.path / name)

    @contextmanager
    def alone(self) -> Iterator[Path]:
        """Its store, which nobody else uses meanwhile. For who is no daemon: what tells of the last one stays.

        StartError: it can't be used, or a daemon uses it.
        """
        self.open()
        try:
            yield self.store
        finally:
            self._release()

    def close(self) -> None:
        (self.path / ADDRESS).unlink(missing_ok=True)
        self.stops()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
