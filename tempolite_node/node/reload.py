"""SIGHUP: reads the config again, has the parts of the node take what they can, and says what became of it.

A part that takes settings while it runs adds a `Part` to the list in `reloadable.py`; the rest needs a restart.
Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import structlog

from tempolite_node.config import Config, ConfigError
from tempolite_node.config.section import Section
from tempolite_node.errors import NodeError, StartError

logger = structlog.get_logger("node")

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change that is sure to succeed."""

    apply: Callable[[], Awaitable[None]]  #: in the event loop
    changed: tuple[str, ...] = ()  #: beside settings of the config, e.g. what is in a file


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the node that takes new settings while it runs."""

    #: Patterns of the settings' names, as `api.tokens` or `pools.*`. The first part that knows a setting takes it.
    settings: tuple[str, ...]
    #: From the running config to the one that comes; None: nothing changes. Runs in a thread, may read files. Raises
    #: StartError for what is wrong with them: then nothing is changed, in no part.
    prepare: Callable[[Config, Config], Prepared | None]
    #: Whether a setting may go from one value to the other.
    allows: Callable[[Any, Any], bool] = lambda _running, _read: True

    def takes(self, setting: str, running: Any, read: Any) -> bool:
        return any(fnmatchcase(setting, pattern) for pattern in self.settings) and self.allows(running, read)


class Reload:
    def __init__(self, config: Config, read: Callable[[], Config], parts: Sequence[Part]) -> None:
        """config: the running one. read: ConfigError carries every mistake."""
        self._config = config
        self._read = read
        self._parts = parts
        self._requested = False
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Once more if one is under way: what it has read may be old by now."""
        self._requested = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload_while_requested())

    async def _reload_while_requested(self) -> None:
        while self._requested:
            self._requested = False
            try:
                await self._reload()
            except Exception:
                logger.exception("the config could not be read again")

    async def _reload(self) -> None:
        try:
            read = await asyncio.to_thread(self._read)
            config, changed, refused = merged(self._config, read, self._parts)
            prepared = await asyncio.to_thread(self._prepare, config)
        except (ConfigError, StartError) as error:
            problems = [str(each) for each in error.problems] if isinstance(error, ConfigError) else [str(error)]
        else:
            self._config = config
            await self._apply(prepared)
            changed += [what for each in prepared for what in each.changed]
            tell = logger.warning if refused else logger.info
            tell("the config was read again", changed=changed, needs_restart=refused)
            return
        logger.error("the config is wrong; nothing was changed", problems=problems)

    def _prepare(self, config: Config) -> list[Prepared]:
        prepared = (part.prepare(self._config, config) for part in self._parts)
        return [each for each in prepared if each is not None]

    async def _apply(self, prepared: Sequence[Prepared]) -> None:
        for each in prepared:
            try:
                await each.apply()
            except NodeError as error:  # the cluster has no majority, or the node stops
                logger.warning("the config is changed here; the other nodes could not be told", error=str(error))


def merged(running: Config, read: Config, parts: Sequence[Part]) -> tuple[Config, list[str], list[str]]:
    """The running config with what the parts take of the one that was read; names of what was taken, and of the rest.

    Settings of an entry in a list of named entries are called by its name: `handlers.greet.priority`.
    StartError: the two do not go together.
    """
    changed: list[str] = []
    refused: list[str] = []

    def merge(setting: str, ours: Any, theirs: Any) -> Any:
        if ours == theirs:
            return ours
        if isinstance(ours, Section) and type(ours) is type(theirs):
            return merge_section(setting, ours, theirs)
        names = _names(ours)
        if names and names == _names(theirs):
            return tuple(
                merge(f"{setting}.{name}", *each)
                for name, each in zip(names, zip(ours, theirs, strict=True), strict=True)
            )
        taken = any(part.takes(setting, ours, theirs) for part in parts)
        (changed if taken else refused).append(setting)
        return theirs if taken else ours

    def merge_section(setting: str, ours: S, theirs: S) -> S:
        prefix = f"{setting}." if setting else ""
        values = {
            name: merge(f"{prefix}{field.alias or name}", getattr(ours, name), getattr(theirs, name))
            for name, field in type(ours).model_fields.items()
        }
        return ours.model_copy(update=values)

    config = merge_section("", running, read)
    _check_callers(config)
    return config, [setting for setting in changed if not setting.startswith("cluster.nodes.")], refused


def _check_callers(config: Config) -> None:
    """StartError: what is taken, with what is not, would let anybody in."""
    api = config.api
    if message := api.exposed(api.listen):
        raise StartError(f"api.listen needs a restart to change, and until then {message}")
    if api.clients and (api.tls is None or api.tls.client_ca is None):
        raise StartError("api.clients needs api.tls.client_ca, which needs a restart to change")


def _names(entries: Any) -> list[str]:
    """Of the handlers, or of the nodes of a cluster; empty for any other value."""
    if not isinstance(entries, tuple) or not all(isinstance(entry, Section) for entry in entries):
        return []
    return [str(getattr(entry, "id", None) or getattr(entry, "name", "")) for entry in entries]
