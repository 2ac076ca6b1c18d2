"""Handlers that catalog a source tree: a root, a child per file, a saga per package.

Kill the node wherever you like: what was measured is not measured again, and no reader of the catalog ever sees half
a package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from examples.catalog import catalog
from examples.catalog.files import FileFacts, list_files, measure, package_of
from tempolite_sdk import (
    ChildHandle,
    CompensationContext,
    HandlerContext,
    SagaContext,
    SagaStep,
    SideEffect,
    SideEffectContext,
    TransactionContext,
)


@dataclass
class CatalogParams:
    """From node.yaml."""

    database: str
    window: int = 64  #: files in flight at a time


@dataclass
class Progress:
    """Sent as signal "progress" while the files are measured."""

    done: int
    total: int


@dataclass
class Summary:
    files: int
    packages: int
    problems: int
    retired: list[str]  #: packages that were in the catalog and are not in the tree


def catalog_tree(ctx: HandlerContext[CatalogParams], root: str) -> Summary:
    """Catalogs every .py file below root."""
    paths = ctx.side_effect("list", ListFiles(root, ctx.params.database))
    packages = sorted({package_of(path) for path in paths})
    publications = []
    problems = 0
    files = announced(ctx, measured(ctx, root, paths), len(paths))
    for package, of_package in groupby(files, key=lambda facts: facts.package):
        rows = list(of_package)
        problems += sum(row.problem != "" for row in rows)
        publications.append(ctx.enqueue(publish_package, package, rows))
    for publication in publications:
        ctx.wait_for_completion(publication)
    retired = ctx.side_effect("retire", RetireOthers(ctx.params.database, packages))
    return Summary(len(paths), len(packages), problems, retired)


def measured(ctx: HandlerContext[CatalogParams], root: str, paths: list[str]) -> Iterator[FileFacts]:
    """The facts of each file, in order, with a bounded window of children in flight."""
    in_flight: deque[ChildHandle[FileFacts]] = deque()
    for path in paths:
        if len(in_flight) == ctx.params.window:
            yield ctx.wait_for_completion(in_flight.popleft())
        in_flight.append(ctx.enqueue(measure_file, root, path))
    while in_flight:
        yield ctx.wait_for_completion(in_flight.popleft())


def announced(ctx: HandlerContext[CatalogParams], files: Iterable[FileFacts], total: int) -> Iterator[FileFacts]:
    """The same files, with a signal to whoever follows at each hundredth of them."""
    every = max(total // 100, 1)
    for done, facts in enumerate(files, 1):
        if done % every == 0 or done == total:
            ctx.send_signal("progress", Progress(done, total))
        yield facts


def measure_file(ctx: HandlerContext, root: str, path: str) -> FileFacts:
    """Reads and measures one file."""
    return ctx.side_effect("measure", MeasureFile(root, path))


def publish_package(ctx: SagaContext[CatalogParams], package: str, rows: list[FileFacts]) -> None:
    """Shows the rows to the readers of the catalog, all at once or not at all."""
    database, publication = ctx.params.database, ctx.execution_id
    ctx.step(StageRows(database, package, publication, rows))
    ctx.step(SwapIn(database, package, publication))
    ctx.step(UpdateTotals(database, package, publication))


# --- side effects


@dataclass
class ListFiles(SideEffect[list[str]]):
    root: str
    database: str

    def run(self, ctx: SideEffectContext) -> list[str]:
        catalog.create(self.database)
        return list_files(self.root)


@dataclass
class MeasureFile(SideEffect[FileFacts]):
    root: str
    path: str

    def run(self, ctx: SideEffectContext) -> FileFacts:
        return measure(self.root, self.path)


@dataclass
class RetireOthers(SideEffect[list[str]]):
    database: str
    packages: list[str]

    def run(self, ctx: SideEffectContext) -> list[str]:
        return catalog.retire_others(self.database, self.packages)


# --- the steps that publish a package: each is safe to repeat, and so is what undoes it


@dataclass
class StageRows(SagaStep):
    database: str
    package: str
    publication: str
    rows: list[FileFacts]

    def transaction(self, ctx: TransactionContext) -> None:
        catalog.stage(self.database, self.package, self.publication, self.rows)

    def compensation(self, ctx: CompensationContext) -> None:
        catalog.unstage(self.database, self.package, self.publication)


@dataclass
class SwapIn(SagaStep):
    database: str
    package: str
    publication: str

    def transaction(self, ctx: TransactionContext) -> None:
        catalog.swap_in(self.database, self.package, self.publication)

    def compensation(self, ctx: CompensationContext) -> None:
        catalog.swap_out(self.database, self.package, self.publication)


@dataclass
class UpdateTotals(SagaStep):
    database: str
    package: str
    publication: str

    def transaction(self, ctx: TransactionContext) -> None:
        catalog.count_totals(self.database, self.package, self.publication)

    def compensation(self, ctx: CompensationContext) -> None:
        catalog.restore_totals(self.database, self.package, self.publication)
