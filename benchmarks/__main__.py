"""scripts/bench: measures a node beside the machine's own limits, and writes docs/performance/."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import cluster, peers, raw, report, scale, throughput
from benchmarks.measures import Measure
from benchmarks.peers.compare import times_the_best

PARTS = ("throughput", "concurrency", "kill", "waiting", "queued", "finished", "cluster")


@click.command()
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="These parts alone.  [default: all]")
@click.option("--quick", is_flag=True, help="Shorter, and with a tenth of the executions.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table and the plots to this directory.")
@click.option("--soak", "soak_minutes", type=float, help="Also run at half load for so many minutes.")
@click.option(
    "--peers", "with_peers", is_flag=True, help="Also measure the peers that can be installed here, on the same work."
)
def main(parts: tuple[str, ...], quick: bool, out: Path | None, soak_minutes: float | None, with_peers: bool) -> None:
    """Measures a Tempolite node on this machine."""
    wanted = parts or PARTS
    seconds = 2.0 if quick else 5.0
    many = 10_000 if quick else 100_000
    rows: list[Measure] = []
    plots: dict[str, tuple[str, str, report.Points, list[tuple[str, str]], bool]] = {}

    def told(more: list[Measure]) -> None:
        rows.extend(more)
        for row in more:
            click.echo(report.text(row))

    limits, limit_rows = raw.measure(seconds)
    told(limit_rows)
    if "throughput" in wanted:
        told(throughput.measure(limits, seconds))
    if with_peers:
        of_peers = peers.measure(seconds)
        told([*of_peers, *times_the_best(rows, of_peers)])
    if "concurrency" in wanted:
        points = [(n, reached, taken * 1_000) for n, reached, taken in throughput.over_concurrency(seconds)]
        series = [("executions", "1/s"), ("median time of one", "ms")]
        plots["concurrency.svg"] = ("Executions over sessions", "in flight", points, series, True)
    if "kill" in wanted:
        told(scale.at_kill(many // 10))
    if "waiting" in wanted:
        more, memory = scale.waiting(many, seconds)
        told(more)
        plots["waiting.svg"] = ("Memory", "waiting executions", memory, [("node and host", "MiB")], False)
    if "queued" in wanted:
        told(scale.queued(10 * many))
    if "finished" in wanted:
        more, by_size = scale.finished((many // 10, many, 10 * many), seconds)
        told(more)
        series = [("executions", "% of an empty node's"), ("side effects", "% of an empty node's")]
        plots["finished.svg"] = ("Rates over the size of the store", "finished executions", by_size, series, True)
    if "cluster" in wanted:
        told(cluster.measure(seconds, commands=10 * many, store_mib=1_000))
    if soak_minutes is not None:
        told(scale.soak(soak_minutes))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, (title, x, points_of, series_of, log_x) in plots.items():
            report.plot(out / file, title, x, points_of, series_of, log_x=log_x)
        (out / "README.md").write_text(report.page(rows, {file: title for file, (title, *_) in plots.items()}))


main(prog_name="scripts/bench")
