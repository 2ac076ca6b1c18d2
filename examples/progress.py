"""Shows how far something is: a bar on a terminal, a line for each tenth anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Display(Protocol):
    def update(self, done: int, total: int) -> None: ...

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        ...


@contextmanager
def display(title: str) -> Iterator[Display]:
    console = Console()
    if not console.is_terminal:
        yield _Lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, title)


class _Bar:
    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    def update(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._tenths = 0

    def update(self, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 10
        if tenths > self._tenths:
            self._tenths = tenths
            print(f"{self._title}: {done} of {total}", flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)
