"""argv to exit code: 0 well, 1 could not start or run, 2 wrong usage or config.

Together with cluster.py the only place that reads argv. What a command needs, it imports when it runs: `--version` and
`--help` load nothing of a node.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tempolite_node.cli.cluster import cluster
from tempolite_node.errors import ConfigError, NodeError, Problem, StartError, UnusableHandlers
from tempolite_node.roles import Role

if TYPE_CHECKING:
    from tempolite_node.config import Config, Source

_SYSTEMS = ("linux", "darwin")  #: that a node runs on; the second for development

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_node_id = click.option("--node-id", help="Which node of the file's cluster this is.  [default: its node.id]")

_PROBLEMS_MAX = 100  #: that are shown of one store

_LAST_LINES_S = 5.0  #: for the lines that are still to be written at the end, if whoever reads them is slow


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from tempolite_node import __version__

        click.echo(f"tempolite-node, version {__version__}")
        context.exit()


@click.group(invoke_without_command=True)
@click.option("--config", type=_FILE, help="The node's YAML file: run the node.")
@_node_id
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
@click.pass_context
def main(context: click.Context, config: Path | None, node_id: str | None) -> None:
    """Runs a Tempolite node."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("give --config, the node's YAML file")
    _require_system()
    from tempolite_node.system import Terminals, hold_back

    terminals = Terminals()
    hold_back(signal.SIGHUP)  # until the node can take it: it asks for another look at the config, and ends nothing
    loaded = _loaded(config, node_id)
    from tempolite_node.cli.logging import configure_logging
    from tempolite_node.config import load_config, source_of

    log = configure_logging(loaded.log)
    from tempolite_node.node.daemon import run

    failure: StartError | None = None
    try:
        code = run(loaded, log, terminals, partial(load_config, config, node_id=node_id))
    except StartError as error:
        code, failure = 1, error
    finally:
        written = log.stop(_LAST_LINES_S)
    if failure is not None and written:  # else standard error takes nothing, and would not take this either
        if isinstance(failure, UnusableHandlers):
            _refuse(ConfigError(_of_handlers(failure, source_of(config, node_id=node_id))), exit_code=1)
        click.echo(f"tempolite-node: {failure}", err=True)
    sys.exit(code)


main.add_command(cluster)


@main.group("config")
def config_group() -> None:
    """Looks at a config without running it."""


@config_group.command("check")
@click.option("--config", type=_FILE, required=True, help="The node's YAML file.")
@_node_id
@click.option("--handlers/--no-handlers", default=True, help="Also import the handlers.  [default: handlers]")
def config_check(config: Path, node_id: str | None, handlers: bool) -> None:
    """Reports every mistake of a config, each with its line and column."""
    if handlers:
        _require_system()
    loaded = _loaded(config, node_id)
    from tempolite_node.cli.logging import configure_logging
    from tempolite_node.config import source_of
    from tempolite_node.node.daemon import check_data_dir, check_handlers

    source = source_of(config, node_id=node_id)
    problems: list[Problem] = []
    if message := check_data_dir(loaded):
        problems.append(source.problem(("node", "data_dir"), message))
    if handlers:
        log = configure_logging(loaded.log)
        try:
            check_handlers(loaded, log)
        except StartError as error:
            problems += _of_handlers(error, source)
        finally:
            log.stop(_LAST_LINES_S)
    if problems:
        _refuse(ConfigError(problems))
    within = f" of cluster {loaded.cluster.name}" if loaded.cluster else ""
    click.echo(f"{config}: fine. Node {loaded.node.id}{within} serves {', '.join(h.name for h in loaded.handlers)}.")


def _of_handlers(error: StartError, source: Source) -> list[Problem]:
    from tempolite_node.config import handler_problem

    if not isinstance(error, UnusableHandlers):
        return [source.problem(("handlers",), str(error), on_key=True)]
    return [handler_problem(source, each.handler, each.setting, each.description) for each in error.mistakes]


def _require_system() -> None:
    if sys.platform not in _SYSTEMS:
        import platform

        click.echo(
            "tempolite-node: a node runs on Linux, and on macOS for development; "
            f"this is {platform.system() or sys.platform}, where the client works (on Windows, a node runs in WSL)",
            err=True,
        )
        sys.exit(1)


def _loaded(path: Path, node_id: str | None) -> Config:
    from tempolite_node.config import load_config

    try:
        return load_config(path, node_id=node_id)
    except ConfigError as error:
        _refuse(error)


def _refuse(error: ConfigError, *, exit_code: int = 2) -> NoReturn:
    click.echo(str(error), err=True)
    count = len(error.problems)
    click.echo(f"{count} {'mistake' if count == 1 else 'mistakes'} in the config", err=True)
    sys.exit(exit_code)


@main.group()
def store() -> None:
    """Backs up a node's store while it runs, and looks after it while it is down."""


@store.command("backup")
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--config", type=_FILE, required=True, help="The node's YAML file.")
@_node_id
def store_backup(to: Path, config: Path, node_id: str | None) -> None:
    """Copies the store to the new file TO. The node may run meanwhile.

    TO is there once the copy is whole and on disk. It has a checksum in each page, as the store has.
    """
    from tempolite_node.store.data_directory import DataDir
    from tempolite_node.store.maintenance import back_up

    with _failing_plainly(), _progress() as told:
        back_up(DataDir(_loaded(config, node_id).node.data_dir).store, to, told=told)
    click.echo(f"{to}: {to.stat().st_size:,} bytes, on disk.")


@store.command("verify")
@click.argument("file", type=_FILE)
def store_verify(file: Path) -> None:
    """Reads all of FILE, a backup or the store of a node that is down: every page, and every row.

    Exit code 1, and a line for each thing that is wrong, if something is.
    """
    from tempolite_node.store.data_directory import STORE, DataDir
    from tempolite_node.store.maintenance import problems_of

    is_of_a_node = file.name == STORE and (file.parent / "lock").exists()
    with (
        _failing_plainly(),
        DataDir(file.parent).alone() if is_of_a_node else nullcontext(),
        _progress() as told,
    ):
        problems = list(problems_of(file, told))
    for problem in problems[:_PROBLEMS_MAX]:
        click.echo(f"{file}: {problem}", err=True)
    if problems[_PROBLEMS_MAX:]:
        click.echo(f"{file}: and {len(problems) - _PROBLEMS_MAX:,} more", err=True)
    if problems:
        sys.exit(1)
    click.echo(f"{file}: sound: every page matches its checksum, and every row can be read.")


@store.command("restore")
@click.argument("backup", type=_FILE)
@click.option("--config", type=_FILE, required=True, help="The node's YAML file.")
@_node_id
def store_restore(backup: Path, config: Path, node_id: str | None) -> None:
    """Puts BACKUP in the place of the store of a node that has none any more.

    The backup is verified first, and stays as it is. The node begins where it was made: what was acknowledged later is
    lost, and what ran later runs again.
    """
    from tempolite_node.store.data_directory import DataDir
    from tempolite_node.store.maintenance import restore

    data_dir = DataDir(_loaded(config, node_id).node.data_dir)
    with _failing_plainly(), data_dir.alone() as file, _progress() as told:
        restore(backup, file, told=told)
    click.echo(
        f"{file}: restored. The node begins a new history where {backup} was made: "
        "what it acknowledged later is lost, and side effects that ran later run again."
    )


@store.command("repair")
@click.option("--config", type=_FILE, required=True, help="The node's YAML file.")
@click.option("--accept", is_flag=True, help="Take what the named pages say now for right.")
@_node_id
def store_repair(config: Path, accept: bool, node_id: str | None) -> None:
    """Gives the store's pages their checksums again, after another program has written to it.

    Names the pages that do not match theirs: what they say can't be proved, and --accept takes it for right. Changes
    nothing without it, or if the pages contradict each other. Needs as much free space as the store takes.
    """
    from tempolite_node.store.data_directory import DataDir
    from tempolite_node.store.maintenance import repair

    data_dir = DataDir(_loaded(config, node_id).node.data_dir)
    with _failing_plainly(), data_dir.alone() as file:
        accepted = repair(file, accept=accept)
    for page in accepted[:_PROBLEMS_MAX]:
        click.echo(f"{file}: {page}: accepted")
    click.echo(f"{file}: every page has its checksum.")


@store.command("compact")
@click.option("--config", type=_FILE, required=True, help="The node's YAML file.")
@_node_id
def store_compact(config: Path, node_id: str | None) -> None:
    """Writes the store of a node that is down anew, without the pages that hold nothing.

    For a store that an earlier version made: it then shrinks by itself when executions are deleted. Needs as much free
    space as the store takes.
    """
    from tempolite_node.store.data_directory import DataDir
    from tempolite_node.store.maintenance import compact

    data_dir = DataDir(_loaded(config, node_id).node.data_dir)
    with _failing_plainly(), data_dir.alone() as file:
        if not file.exists():
            raise NodeError(f"{file}: there is no store")
        before, after = compact(file)
    click.echo(f"{file}: {before:,} bytes before, {after:,} bytes now.")


@contextmanager
def _failing_plainly() -> Iterator[None]:
    try:
        yield
    except NodeError as error:
        click.echo(f"tempolite-node: {error}", err=True)
        sys.exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, and nothing elsewhere. Takes how many pages are done, and of how many."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with ExitStack() as shown:
        bar: Any = None

        def told(done: int, all: int) -> None:
            nonlocal bar
            if bar is None:
                bar = shown.enter_context(click.progressbar(length=all, label="pages", file=sys.stderr))
            bar.update(done - bar.pos)

        yield told


@main.command()
@click.option("--name", default="token", show_default=True, help="Whose token it is.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.OPERATOR.value, show_default=True
)
def token(name: str, role: str) -> None:
    """Makes a bearer token: its first line is the token, its second the entry for api.tokens.

    The node keeps only the hash, so the token can't be shown again.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,200}", name):
        raise click.BadParameter("must be 1 to 200 letters, digits and _.@-", param_hint="--name")
    value = "tn_" + secrets.token_urlsafe(32)
    click.echo(value)
    click.echo(f'- {{name: "{name}", role: {role}, sha256: "{hashlib.sha256(value.encode()).hexdigest()}"}}')


@main.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory to write to.")
@click.option("--host", "hosts", multiple=True, default=["localhost", "127.0.0.1", "::1"], show_default=True)
@click.option("--client", "clients", multiple=True, default=["client"], show_default=True, help="Common name.")
@click.option("--peer", "peers", multiple=True, help="Id of a node of a cluster.")
def certs(out: Path, hosts: tuple[str, ...], clients: tuple[str, ...], peers: tuple[str, ...]) -> None:
    """Makes a development CA with certificates of a server, of clients and of a cluster's peers."""
    from tempolite_node.cli.certificates import make_certificates

    if any(not re.fullmatch(r"[A-Za-z0-9_.@-]{1,64}", client) for client in clients):
        raise click.BadParameter("must be 1 to 64 letters, digits and _.@-", param_hint="--client")
    if any(not re.fullmatch(r"[A-Za-z0-9-]{1,63}", peer) for peer in peers):
        raise click.BadParameter("must be 1 to 63 letters, digits and -", param_hint="--peer")
    for path in make_certificates(out, hosts=hosts, clients=clients, peers=peers):
        click.echo(path)
