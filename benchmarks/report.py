"""Rows and points as a page: a table in Markdown, and plots as SVG."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import apsw

from benchmarks.measures import Measure, number

Points = Sequence[tuple[float, ...]]


def page(rows: Sequence[Measure], plots: Mapping[str, str]) -> str:
    """plots: titles by the file names of their pictures."""
    lines = [
        "# Performance",
        "",
        f"Made by `scripts/bench` on {datetime.now(UTC):%Y-%m-%d}. {_machine()}",
        "The machine is shared, so figures of different runs differ; those of one run compare, and the raw rows",
        "are what the same machine could do at most at that time. Each family of figures has a node of its own; those",
        "of a node that holds nothing are medians of three passes.",
        "",
        "| | | | beside | target | |",
        "|---|---:|---|---|---|---|",
        *(_row(row) for row in rows),
        "",
    ]
    for file, title in plots.items():
        lines += [f"![{title}]({file})", ""]
    return "\n".join(lines)


def _row(row: Measure) -> str:
    met = "" if row.met is None else "met" if row.met else "missed"
    return f"| {row.name} | {number(row.value)} | {row.unit} | {row.beside} | {row.target} | {met} |"


def text(row: Measure) -> str:
    """For a terminal."""
    beside = f"  ({row.beside})" if row.beside else ""
    wanted = f"  [{row.target}: {'met' if row.met else 'missed'}]" if row.met is not None else ""
    return f"{row.name:60} {number(row.value):>10} {row.unit}{beside}{wanted}"


def _machine() -> str:
    processors = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    load = os.getloadavg()[2]
    versions = f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, "
    versions += f"grpcio {importlib.metadata.version('grpcio')}"
    return (
        f"{processors} processors, {memory:.0f} GiB, load {load:.1f} over the last 15 minutes; {versions}; {_commit()}."
    )


def _commit() -> str:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return f"commit {git.stdout.strip()}" if git.returncode == 0 else "no commit"


def plot(path: Path, title: str, x: str, points: Points, series: Sequence[tuple[str, str]], *, log_x: bool) -> None:
    """points: x, then the value of each series. series: name and unit; a second unit gets an axis of its own."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tempolite"  # the same points give the same file
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axis.set_title(title)
    axis.set_xlabel(x)
    if log_x:
        axis.set_xscale("symlog" if points[0][0] == 0 else "log")
    axes = {series[0][1]: axis}
    for place, (name, unit) in enumerate(series):
        if unit not in axes:
            axes[unit] = axis.twinx()
        axes[unit].plot(
            [point[0] for point in points],
            [point[place + 1] for point in points],
            marker="o",
            color=f"C{place}",
            label=name,
        )
        axes[unit].set_ylabel(f"{name}, {unit}" if len({u for _, u in series}) > 1 else unit)
        axes[unit].set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=len(series))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
