"""Reads a YAML file into plain values, and remembers where each one stands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tempolite_node.errors import Problem

Location: TypeAlias = tuple[str | int, ...]  #: keys and list positions from the top


class FromEnvironment(str):
    """Text in which a reference to the environment stood: a secret, perhaps."""

    __slots__ = ()


_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NODE_ID = "TEMPOLITE_NODE_ID"  #: the variable that --node-id sets
_FILE_BYTES_MAX = 16 * 1024 * 1024


@dataclass
class Source:
    """The values of one file, and what is wrong with its text."""

    path: Path
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Location, tuple[int, int]] = field(default_factory=dict)
    values: dict[Location, tuple[int, int]] = field(default_factory=dict)

    def problem(self, at: Location, message: str, *, on_key: bool = False) -> Problem:
        """At the value, or its key; when it is missing, at the nearest thing around it."""
        line, column = self._place(at, on_key)
        return Problem(str(self.path), line, column, dotted(at), message)

    def _place(self, at: Location, on_key: bool) -> tuple[int, int]:
        if on_key and at in self.keys:
            return self.keys[at]
        for length in range(len(at), -1, -1):
            if at[:length] in self.values:
                return self.values[at[:length]]
        return 0, 0


def dotted(at: Location) -> str:
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_source(path: Path, environment: Mapping[str, str] = os.environ) -> Source:
    """The file's values with references to the environment resolved. Never raises for what is in the file."""
    source = Source(path)
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            source.problems.append(source.problem((), "is larger than 16MiB"))
            return source
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        source.problems.append(source.problem((), f"can't be read: {error.strerror}"))
        return source
    except UnicodeDecodeError:
        source.problems.append(source.problem((), "is not UTF-8 text"))
        return source
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        source.problems.append(Problem(str(path), line, column, "", _first_line(error)))
        return source
    except YAMLError as error:
        source.problems.append(source.problem((), _first_line(error)))
        return source
    if node is not None:
        source.value = _Reader(source, yaml, environment).value(node, (), ())
    return source


def _first_line(error: YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    return "not valid YAML: " + str(problem).splitlines()[0]


class _Reader:
    def __init__(self, source: Source, yaml: YAML, environment: Mapping[str, str]) -> None:
        self._source = source
        self._yaml = yaml
        self._environment = environment

    def value(self, node: Node, at: Location, within: tuple[int, ...]) -> Any:
        """within: the nodes around it, since an alias may lead back to one of them."""
        self._source.values[at] = _start(node)
        if id(node) in within:
            self._report(at, "refers to itself")
            return None
        within = (*within, id(node))
        if isinstance(node, MappingNode):
            return {key: self.value(child, (*at, key), within) for key, child in self._entries(node, at)}
        if isinstance(node, SequenceNode):
            return [self.value(child, (*at, index), within) for index, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, at)

    def _entries(self, node: MappingNode, at: Location) -> Iterator[tuple[str, Node]]:
        seen: dict[str, int] = {}
        for key_node, child in node.value:
            line, column = _start(key_node)
            if not isinstance(key_node, ScalarNode):
                self._report(at, "has a key that is not text")
            elif (key := str(key_node.value)) in seen:
                problem = Problem(
                    str(self._source.path), line, column, dotted((*at, key)), f"is already set in line {seen[key]}"
                )
                self._source.problems.append(problem)
            else:
                seen[key] = line
                self._source.keys[(*at, key)] = line, column
                yield key, child

    def _scalar(self, node: ScalarNode, at: Location) -> Any:
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag == "str":
            return self._substituted(str(node.value), at)
        if tag not in ("int", "float", "bool", "null"):
            return str(node.value)  # dates and the like stay what was written
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self._report(at, "is not valid YAML")
            return None

    def _substituted(self, text: str, at: Location) -> str:
        """With `${NAME}` replaced by the environment's value; `$$` stands for one dollar sign."""

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "$"
            if not _NAME.fullmatch(name):
                self._report(at, "has a reference that is not ${NAME}; write $$ for a dollar sign")
                return ""
            if name not in self._environment:
                hint = "; give --node-id or set it" if name == NODE_ID else ""
                self._report(at, f"needs the environment variable {name}, which is not set{hint}")
                return ""
            return self._environment[name]

        substituted = _REFERENCE.sub(replace, text)
        referred = any(match[1] is not None for match in _REFERENCE.finditer(text))
        return FromEnvironment(substituted) if referred else substituted

    def _report(self, at: Location, message: str) -> None:
        self._source.problems.append(self._source.problem(at, message))


def _start(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
