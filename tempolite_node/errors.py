"""Errors of the daemon by whose fault they are, and so by what may be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class NodeError(Exception):
    """Base of what the daemon raises on purpose. Anything else that escapes is a bug of ours."""


# --- the operator's: nothing runs until it is put right


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file. Line and column are 1-based; 0: about the file as a whole."""

    file: str
    line: int
    column: int
    path: str  #: dotted, e.g. "pools.handler.workers"; empty: the file as a whole
    message: str  #: never quotes a value, which may be a secret

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(NodeError):
    """Every mistake of the config, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StartError(NodeError):
    """The node can't start here: the address is taken, the data directory is in use, a handler can't be imported."""


@dataclass(frozen=True, slots=True)
class HandlerMistake:
    """Why a handler of the config can't be served."""

    handler: str
    target: str
    setting: str  #: of the handler, e.g. "target" or "params.region"
    description: str

    def __str__(self) -> str:
        place = "" if self.setting == "target" else f"{self.setting}: "
        return f"{self.handler} ({self.target}): {place}{self.description}"


class UnusableHandlers(StartError):
    """Handlers of the config can't be served; every mistake is there, once."""

    def __init__(self, mistakes: Sequence[HandlerMistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("the handlers can't be loaded:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))


# --- the node's: a repeat with the same request_id is safe


class Unavailable(NodeError):
    """The node is stopping, or not up yet. What was asked may or may not have happened."""


class NoQuorum(Unavailable):
    """No majority of the cluster answers in time. Nothing was stored, and nothing of it will be."""


class OutcomeUnknown(Unavailable):
    """The node can't tell what became of the request: it may have been stored, or still be."""


class StorageFailed(NodeError):
    """The disk is full, read-only or broken. What was asked is not acknowledged."""


class Overloaded(NodeError):
    """A bounded queue of the node is full; nothing was stored."""

    def __init__(self, message: str, retry_after_ms: int = 1_000) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(message)


# --- the caller's: not as things stand


class WrongState(NodeError):
    """What is asked does not fit the state of the node or its cluster, e.g. to remove the leader. Nothing was done."""


def no_cluster() -> WrongState:
    return WrongState("this node is not part of a cluster")
