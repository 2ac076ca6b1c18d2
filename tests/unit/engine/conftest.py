"""A store on disk for each story; at its end, whatever it told, the store's invariants hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .invariants import check
from .story import Story, new_store


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(new_store(tmp_path / "store.db"))
    yield told
    check(told.connection, told.executions)
    told.close()
