from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster

Found = Callable[..., Cluster]

THREE: Mapping[str, Mapping[str, Any]] = {"a": {}, "b": {}, "c": {}}


_readiness: list[list[Cluster]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the logs of the clusters that stand when a test fails."""
    report = yield
    if report.failed:
        for each in (each for clusters in _readiness for each in clusters):
            report.sections.append((f"nodes of {each.directory}", each.logs(since=call.start)))
    return report


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Found]:
    """Founds clusters: cluster("module:function", ..., nodes={id: entry}) with further sections by keyword."""
    with _founding(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """The same, for clusters that the tests of a module share."""
    with _founding(tmp_path_factory.mktemp("clusters")) as found:
        yield found


@contextmanager
def _founding(directory: Path) -> Iterator[Found]:
    clusters: list[Cluster] = []
    _readiness.append(clusters)

    def found(
        *targets: str | dict[str, Any],
        nodes: Mapping[str, Mapping[str, Any]] = THREE,
        start: bool = True,
        **config: Any,
    ) -> Cluster:
        handlers = [{"target": target} if isinstance(target, str) else target for target in targets]
        home = directory / f"cluster-{len(clusters)}"
        home.mkdir()
        made = Cluster(home, {"handlers": handlers, **config}, nodes)
        clusters.append(made)
        return made.start() if start else made

    try:
        yield found
    finally:
        _readiness.remove(clusters)
        for each in clusters:
            each.close()
