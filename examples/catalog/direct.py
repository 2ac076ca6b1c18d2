"""The same catalog, computed in a plain loop: what the database is compared with, byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from examples.catalog.files import FileFacts, list_files, measure


def dump(root: str) -> str:
    facts = [measure(root, path) for path in list_files(root)]
    packages = [(package, list(rows)) for package, rows in groupby(facts, key=lambda row: row.package)]
    lines = [_file_line(row) for row in facts] + [_package_line(package, rows) for package, rows in packages]
    return "".join(f"{line}\n" for line in lines)


def _file_line(row: FileFacts) -> str:
    return f"{row.path}\t{row.lines}\t{row.bytes}\t{row.sha256}\t{row.functions}\t{row.classes}\t{row.problem}"


def _package_line(package: str, rows: Sequence[FileFacts]) -> str:
    counts = (
        len(rows),
        sum(row.lines for row in rows),
        sum(row.bytes for row in rows),
        sum(row.functions for row in rows),
        sum(row.classes for row in rows),
        sum(row.problem != "" for row in rows),
    )
    return "\t".join([package, *map(str, counts)])
