"""Every setting of the config that has bounds, as the model has it: a new one can't be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from tempolite_node.config import Config
from tempolite_node.config.bounds import Bounds
from tempolite_node.config.section import Section
from tempolite_node.config.units import parse_duration_ms

ENTRY = "[]"  #: a step of a path: each entry of a list


@dataclass(frozen=True)
class Setting:
    path: tuple[str, ...]  #: as in the file, e.g. ("handlers", "[]", "priority")
    bounds: Bounds

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def minimum(self) -> Any:
        return self._written(self.bounds.minimum)

    @property
    def maximum(self) -> Any:
        return self._written(self.bounds.maximum)

    def _written(self, value: float) -> Any:
        """As it stands in a file."""
        return self.bounds.show(value) if self.bounds.parse is parse_duration_ms else value

    def __str__(self) -> str:
        return ".".join(self.path).replace(".[]", "[]")


def settings(section: type[Section] = Config, at: tuple[str, ...] = ()) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        path = (*at, field.alias or name)
        parts = [*_parts(field.annotation), *field.metadata]
        inner = path if not any(part is Ellipsis for part in parts) else (*path, ENTRY)
        for part in parts:
            if isinstance(part, Bounds):
                yield Setting(path, part)
            elif isinstance(part, type) and issubclass(part, Section):
                yield from settings(part, inner)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)
