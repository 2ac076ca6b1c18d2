"""`tempolite-node cluster`: looks at a cluster that runs, and changes its members and its leader.

It is a client like any other.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from tempolite_sdk import Client, ClusterInfo, MemberInfo


_SECONDS = click.FloatRange(min=0, min_open=True)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_WIDTH_OF_A_FILE = 160  #: columns, where there is no terminal to ask


Connect = Callable[[], "Client"]


@click.group()
def cluster() -> None:
    """Looks at a running cluster, and changes its members and its leader.

    Looking needs the role reader, changing admin.
    """


def _connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say where the cluster is, and gives the command what connects with it."""

    @click.option("--endpoint", help="host:port[,host:port…] of nodes' APIs.  [default: $TEMPOLITE_ADDRESS]")
    @click.option("--token-file", type=_FILE, help="File with a bearer token.  [default: $TEMPOLITE_TOKEN]")
    @click.option("--tls", is_flag=True, help="Use TLS, with the public authorities unless --ca is given.")
    @click.option("--ca", type=_FILE, help="PEM of the authority of the nodes' certificates; implies --tls.")
    @click.option("--cert", type=_FILE, help="PEM of this client's certificate, with --key; implies --tls.")
    @click.option("--key", type=_FILE, help="PEM of the certificate's key.")
    @click.option("--timeout", type=_SECONDS, default=10.0, show_default=True, help="Seconds to try for.")
    @functools.wraps(command)
    def connecting(
        endpoint: str | None,
        token_file: Path | None,
        tls: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        timeout: float,
        **others: object,
    ) -> None:
        def connect() -> Client:
            from tempolite_sdk import TLS, Client  # here, so that the other commands start fast

            return Client(
                endpoint,
                token=None if token_file is None else token_file.read_text().strip(),
                tls=TLS(ca_file=ca, cert_file=cert, key_file=key) if tls or ca or cert or key else False,
                timeout=timeout,
                sessions=False,
            )

        command(connect, **others)

    return connecting


@contextmanager
def _connected(connect: Connect) -> Iterator[Client]:
    """A client; what it is refused ends the command with a word and exit code 1."""
    from tempolite_sdk import TempoliteError

    try:
        with connect() as client:
            yield client
    except TempoliteError as error:
        click.echo(f"tempolite-node: {error}", err=True)
        sys.exit(1)


@cluster.command()
@_connecting
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(connect: Connect, as_json: bool) -> None:
    """Shows who belongs to the cluster, who leads, and how far each node is.

    It is the view of one node: the leader's, if its address is among the endpoints.
    """
    with _connected(connect) as client:
        info = client.cluster()
        if info.leader not in (None, info.node_id):
            info = client.cluster()  # the first answer told the client where the leader is
    if as_json:
        click.echo(_json(info))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False)
    leader = f"{info.leader} leads" if info.leader else "[red]nobody leads[/red]"
    console.print(
        f"cluster [bold]{info.name}[/bold]: {leader} in term {info.term}; committed up to {info.commit_index} "
        f"(as seen by {info.node_id}, {info.role}, which has applied {info.applied_index})"
    )
    console.print(_table(info))


def _json(info: ClusterInfo) -> str:
    import json

    import msgspec

    return json.dumps(msgspec.to_builtins(info), indent=2)


def _table(info: ClusterInfo) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("node", "state", "API", "peers", "log", "open", "workers", "handlers"):
        table.add_column(heading, justify="right" if heading in ("log", "open") else "left")
    for member in info.members:
        table.add_row(
            member.node_id,
            _state(info, member),
            escape(member.api_address or "–"),
            escape(member.address),
            _log(member),
            str(member.open_executions),
            ", ".join(f"{workers} {component}" for component, workers in member.workers.items()) or "–",
            ", ".join(member.handlers) or "–",
        )
    return table


def _log(member: MemberInfo) -> str:
    """How far it is, and by how much it is behind."""
    if member.matched_index is None:
        return "–"
    return f"{member.matched_index} (-{member.lag})" if member.lag else str(member.matched_index)


def _state(info: ClusterInfo, member: MemberInfo) -> str:
    """Everything that an operator should know at once, the worst first."""
    from rich.markup import escape

    words = []
    if not member.live:
        words.append("[red]dead[/red]" if member.incarnation else "[yellow]never started[/yellow]")
    if member.refused:
        words.append(f"[red]refused: {escape(member.refused)}[/red]")
    if not member.votes:
        words.append("[yellow]catches up[/yellow]")
    if member.draining:
        words.append("[yellow]drains[/yellow]")
    if not member.connected and member.node_id != info.node_id:
        words.append(f"[yellow]not connected with {info.node_id}[/yellow]")
    if member.node_id == info.leader:
        words.append("[green]leads[/green]")
    return ", ".join(words) or "[green]follows[/green]"


@cluster.command()
@_connecting
@click.argument("node_id", metavar="ID")
@click.argument("address")
@click.option("--catch-up", type=_SECONDS, default=60.0, show_default=True, help="Seconds that it may take.")
def add(connect: Connect, node_id: str, address: str, catch_up: float) -> None:
    """Adds a node, which runs already with `join` in its entry of the config.

    ADDRESS is where the other nodes reach it (host:port, its `peers`). Waits until it has caught up and counts.
    """
    with _connected(connect) as client:
        client.add_member(node_id, address, timeout=catch_up)
    click.echo(f"{node_id} is a member.")


@cluster.command()
@_connecting
@click.argument("node_id", metavar="ID")
def remove(connect: Connect, node_id: str) -> None:
    """Removes a node, whether it runs or not; its work goes to others. Does nothing if there is none of that id."""
    with _connected(connect) as client:
        members = [member.node_id for member in client.cluster().members]
        client.remove_member(node_id)  # in any case: a removal that was cut short is completed
    if node_id in members:
        click.echo(f"{node_id} is no member any more.")
    else:
        click.echo(f"{node_id} was no member; members are: {', '.join(members)}.")


@cluster.command()
@_connecting
@click.option("--to", help="Id of the node that shall lead.  [default: whoever has most of the log]")
def transfer(connect: Connect, to: str | None) -> None:
    """Has another node lead, without waiting for an election."""
    with _connected(connect) as client:
        leader = client.transfer_leadership(to)
    click.echo(f"{leader} leads.")
