"""Who may import what: the lines that ARCHITECTURE.md draws between the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
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


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package, by their full names; a package's own name is that of its `__init__`."""
    named: dict[str, Path] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def import_graph(package: Path) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, wherever in it, and for types alone too."""
    known = modules(package)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        # What is imported is a module, or a name that stands in one.
        found = {each if each in known else each.rpartition(".")[0] for each in imports(path)}
        graph[name] = (found & known.keys()) - {name}
    return graph


def between_folders(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same of the folders right below the package, with all that is in each; a loose module is one of its own."""

    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    folders: dict[str, set[str]] = {}
    for name, targets in graph.items():
        mine = folders.setdefault(folder(name), set())
        mine |= {folder(target) for target in targets} - {folder(name)}
    return folders


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Names of which each is imported by the next, from one back to itself; [] if there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# --- circles


@pytest.mark.parametrize("package", ["tempolite_sdk", "tempolite_node"])
def test_no_module_imports_one_that_imports_it(package: str) -> None:
    assert circle(import_graph(ROOT / package)) == []


@pytest.mark.parametrize("package", ["tempolite_sdk", "tempolite_node"])
def test_no_folder_imports_from_one_that_imports_from_it(package: str) -> None:
    assert circle(between_folders(import_graph(ROOT / package))) == []


# --- the rooms of the node


#: What of the node, and of the SDK, each of its packages may import; of the node's root, everything that is in no
#: package. Whoever adds to it draws an arrow in ARCHITECTURE.md, and says why the room has to know the other.
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "engine": (),
    "protocol": ("engine", "tempolite_sdk.signals", "tempolite_sdk.signatures"),
    "config": ("engine", "tempolite_sdk.names"),
    "logger": (),
    "log": ("engine",),
    "store": ("engine",),
    "handlers": (
        "config",
        "engine",
        "protocol",
        "tempolite_sdk.ids",
        "tempolite_sdk.names",
        "tempolite_sdk.signatures",
    ),
    "driver": ("engine", "log.base", "protocol", "store"),
    "supervisor": ("config", "logger", "protocol", "tempolite_sdk.signatures"),
    "worker_host": ("engine", "logger", "protocol", "tempolite_sdk"),
    "explain": ("engine", "tempolite_sdk.names"),
    "api": ("config", "engine", "explain", "handlers", "protocol", "tempolite_sdk.ids", "tempolite_sdk.pb"),
    "node": (
        "api",
        "config",
        "driver",
        "engine",
        "explain",
        "handlers",
        "log",
        "logger",
        "protocol",
        "store",
        "supervisor",
        "tempolite_sdk.signals",
    ),
    "cli": ("config", "logger", "node", "store.data_directory", "store.maintenance", "tempolite_sdk"),
}
#: What lies in no package: what it knows of the node is the engine.
LOOSE = tuple(path.stem for path in (ROOT / "tempolite_node").glob("*.py") if path.stem != "__main__")


def test_every_package_of_the_node_has_its_place_in_the_table() -> None:
    packages = {path.parent.name for path in (ROOT / "tempolite_node").glob("*/__init__.py")}

    assert packages == MAY_IMPORT.keys()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_package_knows_no_more_of_the_others_than_the_table_says(room: str) -> None:
    allowed = (room, *MAY_IMPORT[room], *LOOSE, "__version__")
    names = [name if is_within(name, "tempolite_sdk") else f"tempolite_node.{name}" for name in allowed]
    foreign = [
        crossing
        for path in sources(f"tempolite_node/{room}")
        for crossing in crossings([path], "tempolite_node", "tempolite_sdk")
        if not any(is_within(crossing.rpartition(" ")[2], name) for name in names)
    ]

    assert foreign == []


@pytest.mark.parametrize("name", LOOSE)
def test_what_lies_in_no_package_knows_the_engine_and_the_errors_at_most(name: str) -> None:
    path = ROOT / "tempolite_node" / f"{name}.py"

    known = ("tempolite_node.engine", "tempolite_node.errors")
    names = [name for name in imports(path) if is_within(name, "tempolite_node")]
    assert [name for name in names if not any(is_within(name, each) for each in known)] == []


def test_a_worker_host_knows_the_half_of_the_sdk_for_handlers() -> None:
    assert crossings(sources("tempolite_node/worker_host"), "tempolite_sdk.client", "tempolite_sdk.pb") == []


# --- the engine


ENGINE = sources("tempolite_node/engine")
#: All that a pure function needs. Whoever adds to it answers for its purity.
PURE = (
    "__future__",
    "collections",
    "enum",
    "hashlib",
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
    allowed = ("tempolite_node.log.raft", "tempolite_node.errors", "tempolite_node.system", "tempolite_node.tls")
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


@pytest.mark.parametrize(
    ("cellar", "expected"),
    [
        ("import house.window\n", set()),
        (
            "if TYPE_CHECKING:\n    from house import door\n",
            {"house.door", "house.rooms.kitchen", "house.rooms.cellar"},
        ),
    ],
)
def test_a_circle_of_imports_is_found_wherever_they_stand(tmp_path: Path, cellar: str, expected: set[str]) -> None:
    package = tmp_path / "house"
    rooms = package / "rooms"
    rooms.mkdir(parents=True)
    (package / "__init__.py").touch()
    (rooms / "__init__.py").touch()
    (package / "window.py").touch()
    (package / "door.py").write_text("from house.rooms.kitchen import cook\n")
    (rooms / "kitchen.py").write_text("def cook():\n    from house.rooms import cellar\n")
    (rooms / "cellar.py").write_text(cellar)

    assert set(circle(import_graph(package))) == expected
