"""Who may import what: the lines that ARCHITECTURE.md draws between the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def sources(*places: str) -> list[Path]:
    """The modules at these places below the root: files, or packages with all that is in them."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert found, f"nothing at {places}"
    return found


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it: "package.module" and "package.module.name"."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def crossings(places: list[Path], *packages: str) -> list[str]:
    """Imports of these packages, as "file imports name"."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in places
        for name in imports(path)
        if any(is_within(name, package) for package in packages)
    ]


def calls(path: Path) -> Iterator[str]:
    """Names of the functions that a module calls by a plain name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


# --- circles

#: Packages whose modules import each other in one direction alone.
WITHOUT_CIRCLES = ("tempolite_sdk", "tempolite_node")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def graph(package: str) -> dict[str, set[str]]:
    """Which modules of the package each of them imports, wherever in it: in a function and for type checkers too."""
    modules = {module_name(path): path for path in sources(package)}

    def target(name: str) -> str | None:
        """The module that is meant: "package.module.name" may name something in it."""
        return name if name in modules else parent if (parent := name.rpartition(".")[0]) in modules else None

    return {
        name: {found for imported in imports(path) if (found := target(imported)) is not None}
        for name, path in modules.items()
    }


def between_folders(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same of the folders right below the package, with all that is in each; a loose module is one of its own."""
    folders: dict[str, set[str]] = {}
    for name, targets in edges.items():
        mine = folders.setdefault(_folder(name), set())
        mine |= {_folder(target) for target in targets} - {_folder(name)}
    return folders


def _folder(module: str) -> str:
    return ".".join(module.split(".")[:2])


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules of which each leads to each other. They go when nothing is left that leads nowhere."""
    left = {name: set(targets) for name, targets in edges.items()}
    while ends := {name for name, targets in left.items() if not targets & left.keys()}:
        for name in ends:
            del left[name]
    reached = {name: _reached(left, name) for name in left}
    groups = {
        frozenset(each for each in reached[name] if name in reached[each]) for name in left if name in reached[name]
    }
    return sorted(sorted(group) for group in groups)


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = (edges[waiting.pop()] & edges.keys()) - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize("package", WITHOUT_CIRCLES)
def test_no_module_imports_one_that_imports_it_not_even_in_a_function_or_for_type_checkers(package: str) -> None:
    assert circles(graph(package)) == []


@pytest.mark.parametrize("package", WITHOUT_CIRCLES)
def test_no_folder_imports_from_one_that_imports_from_it(package: str) -> None:
    assert circles(between_folders(graph(package))) == []


# --- the engine


ENGINE = sources("tempolite_node/engine")
#: All that a pure function needs. Whoever adds to it answers for its purity.
PURE = (
    "__future__",
    "collections",
    "enum",
    "heapq",
    "math",
    "msgspec",
    "typing",
    "tempolite_node.engine",
)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_reads_no_clock_draws_no_numbers_and_does_no_io(path: Path) -> None:
    impure = [name for name in imports(path) if not any(is_within(name, pure) for pure in PURE)]

    assert impure == []
    assert set(calls(path)).isdisjoint({"open", "print", "input", "exec", "eval", "__import__", "id", "hash"})


def test_the_engine_knows_nothing_of_who_uses_it() -> None:
    foreign = [
        name
        for path in ENGINE
        for name in imports(path)
        if is_within(name, "tempolite_node") and not is_within(name, "tempolite_node.engine")
    ]

    assert foreign == []


# --- SQL


def test_only_the_store_and_those_who_answer_for_its_failures_know_sqlite() -> None:
    knowing = {path.relative_to(ROOT) for path in sources("tempolite_node") if crossings([path], "apsw")}

    journal = Path("tempolite_node/log/raft/log_file.py")  # the log's own file, beside the store's
    allowed = {Path("tempolite_node/driver/driver.py"), Path("tempolite_node/node/daemon.py"), journal}
    assert {path for path in knowing if not path.is_relative_to("tempolite_node/store")} <= allowed


# --- the replicated log


def test_only_the_guards_know_the_library_of_the_replicated_log() -> None:
    knowing = {path.relative_to(ROOT) for path in sources("tempolite_node") if crossings([path], "pysyncobj")}

    assert knowing == {Path("tempolite_node/log/raft/guards.py")}


def test_the_replicated_log_orders_bytes_and_knows_nothing_of_the_node() -> None:
    allowed = ("tempolite_node.log.raft", "tempolite_node.errors")
    foreign = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("tempolite_node/log/raft")
        for name in imports(path)
        if is_within(name, "tempolite_node") and not any(is_within(name, package) for package in allowed)
    ]

    assert foreign == []


# --- the api


def test_the_api_asks_and_knows_not_how_it_is_done() -> None:
    packages = ("driver", "supervisor", "log", "store", "worker_host")

    assert crossings(sources("tempolite_node/api"), "apsw", *(f"tempolite_node.{each}" for each in packages)) == []


# --- user code


def test_user_code_is_imported_in_worker_hosts_alone() -> None:
    outside = [
        path for path in sources("tempolite_node") if not path.is_relative_to(ROOT / "tempolite_node/worker_host")
    ]

    assert crossings(outside, "importlib.import_module", "importlib.util", "runpy", "tempolite_node.worker_host") == []
    dynamic = [path for path in outside if not {"exec", "eval", "__import__"}.isdisjoint(calls(path))]
    assert dynamic == []
    # `import importlib` alone would let any of its functions in by attribute.
    assert [path for path in outside if "importlib" in imports(path)] == []


def test_a_worker_host_knows_neither_grpc_nor_the_store() -> None:
    # What it has loaded in the end, with all that its imports import: tests/e2e/test_hosts.py.
    of_the_node = ("tempolite_node.store", "tempolite_node.api", "tempolite_node.driver")
    packages = ("grpc", "google", "apsw", "tempolite_sdk.client", *of_the_node)

    assert crossings(sources("tempolite_node/worker_host"), *packages) == []


def test_the_sdk_knows_nothing_of_the_node() -> None:
    assert crossings(sources("tempolite_sdk"), "tempolite_node", "apsw") == []


def test_what_handlers_are_written_against_knows_nothing_of_clients() -> None:
    of_handlers = [
        path
        for path in sources("tempolite_sdk")
        if path.parent == ROOT / "tempolite_sdk" and path.name != "__init__.py"  # which has the names of both halves
    ]

    assert crossings(of_handlers, "tempolite_sdk.client", "tempolite_sdk.pb", "grpc", "google") == []


def test_nobody_unpickles() -> None:
    assert crossings(sources("tempolite_node", "tempolite_sdk"), "pickle", "marshal", "shelve", "dill") == []


# --- the test itself


def test_an_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import os.path\n"
        "from time import time as clock\n"
        "def later():\n"
        "    from tempolite_node import store\n"
        "if TYPE_CHECKING:\n"
        "    import apsw as sql\n"
    )

    assert list(imports(path)) == ["os.path", "time.time", "tempolite_node.store", "apsw"]
    assert is_within("tempolite_node.store", "tempolite_node.store")
    assert not is_within("tempolite_node.storekeeper", "tempolite_node.store")


def test_a_circle_is_found_however_long_it_is() -> None:
    edges = {
        "a": {"b"},
        "b": {"c"},
        "c": {"a", "end"},
        "d": {"a"},
        "self": {"self"},
        "x": {"y"},
        "y": {"x"},
        "end": set(),
    }

    assert circles(edges) == [["a", "b", "c"], ["self"], ["x", "y"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
