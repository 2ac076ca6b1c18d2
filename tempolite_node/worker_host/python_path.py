"""Where a worker host looks for the modules of the handlers: after the standard library, before what is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder


def extend(python_path: Iterable[str]) -> None:
    """Puts directories on Python's path, once each.

    They stand behind the standard library: a file random.py beside the handlers is never what `import random` finds,
    in whatever library. They stand before installed packages, as the directory of a script does.
    """
    wanted = dict.fromkeys(python_path)
    path = [entry for entry in sys.path if entry not in wanted]
    behind = 1 + max((place for place, entry in enumerate(path) if _is_standard(entry)), default=-1)
    sys.path[:] = [*path[:behind], *wanted, *path[behind:]]


def _is_standard(entry: str) -> bool:
    """Whether it is of the standard library; its zip file and the directory of its C modules included."""
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return entry == os.path.dirname(os.__file__) or os.path.basename(entry) in ("lib-dynload", zipped)


def hidden_by_standard_library(module: str, python_path: Iterable[str]) -> str | None:
    """The file in python_path that is not found, since a module of the standard library has its name. None: no file."""
    name = module.partition(".")[0]
    if name not in sys.stdlib_module_names:
        return None
    found = PathFinder.find_spec(name, list(python_path))
    return found.origin if found is not None else None
