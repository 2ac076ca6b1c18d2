"""What is to be told of a source tree: its files, and the facts of each. Plain Python, shared with the direct way."""

from __future__ import annotations

import ast
import hashlib
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import decode_source
from pathlib import Path
from typing import Literal

STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]

#: Directories that hold no source of the tree itself.
_SKIPPED = frozenset({"__pycache__", "site-packages", "dist-packages"})

# Parsing warns of doubtful escapes and the like in the files that are measured; that is none of our business.
_PARSED_AS = "<measured>"
warnings.filterwarnings("ignore", module=_PARSED_AS)


Problem = Literal["", "unreadable", "not parsed"]  #: what is unknown of such a file counts as zero


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    path: str  #: below the root, with forward slashes
    lines: int = 0
    bytes: int = 0
    sha256: str = ""
    functions: int = 0  #: `def` and `async def`, methods and nested ones too
    classes: int = 0
    problem: Problem = ""

    @property
    def package(self) -> str:
        return package_of(self.path)


def package_of(path: str) -> str:
    """The top-level directory; "." for the files beside those."""
    top, separator, _ = path.partition("/")
    return top if separator else "."


def list_files(root: str) -> list[str]:
    """The .py files below root, package by package. Names that are no Unicode text are left out."""
    return sorted(_walk(root), key=lambda path: (package_of(path), path))


def _walk(root: str) -> Iterator[str]:
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if name not in _SKIPPED]
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), root)
            if name.endswith(".py") and _is_text(path):
                yield path


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def measure(root: str, path: str) -> FileFacts:
    """The facts of one file. A file that can't be read or parsed is measured as far as it goes, and flagged."""
    try:
        content = Path(root, path).read_bytes()
    except OSError:
        return FileFacts(path=path, problem="unreadable")
    try:
        functions, classes = _count_definitions(content)
        problem: Problem = ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a UnicodeDecodeError is a ValueError
        functions, classes, problem = 0, 0, "not parsed"
    return FileFacts(
        path=path,
        lines=len(content.splitlines()),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        functions=functions,
        classes=classes,
        problem=problem,
    )


def _count_definitions(content: bytes) -> tuple[int, int]:
    """Functions and classes, wherever a statement may be."""
    functions = classes = 0
    blocks: list[ast.AST] = [ast.parse(decode_source(content), _PARSED_AS)]
    while blocks:
        node = blocks.pop()
        functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(node, ast.ClassDef)
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                blocks += block
    return functions, classes
