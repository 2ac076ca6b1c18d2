"""Runs that continue each other on a cluster: wherever they are, they are one, and all stores come out the same."""

from __future__ import annotations

import pytest

from tests.e2e.daemon import PATIENCE_S

from .cluster import eventually
from .conftest import Found

pytestmark = pytest.mark.timeout(300)

COUNT, PER_RUN = 200, 20


def test_runs_go_on_at_another_node_when_theirs_is_killed_and_all_stores_are_the_same(cluster: Found) -> None:
    served = {"handlers": ["collect", "months"]}
    nodes = cluster(
        "continuing:collect",
        "continuing:months",
        nodes={"a": served, "b": served, "c": served},
        cluster={"node_timeout": "2s"},
    )
    with nodes.client() as client:
        handle = client.options(id="all").enqueue("collect", COUNT, PER_RUN)
        for number in range(COUNT // 2):
            handle.send_signal("number", number, request_id=f"number-{number}")
        eventually(lambda: handle.info().run >= 3, "three runs")
        killed = nodes[handle.info().node_id]
        killed.kill()
        for number in range(COUNT // 2, COUNT):
            handle.send_signal("number", number, request_id=f"number-{number}")
        rent = client.options(id="rent").enqueue("months", 3)

        assert handle.result(PATIENCE_S) == [COUNT, sum(range(COUNT))]
        assert rent.result(PATIENCE_S) == 3
        killed.start()
        nodes.until_all_live()
        eventually(lambda: nodes.leader().query("SELECT 1 FROM timers WHERE name = 'clearing'") == [], "all is cleared")
    nodes.until_applied()
    stores = nodes.check_equal_stores()

    assert len(stores["inbox"]) <= 2 * PER_RUN
    charged = {effect for effect in nodes.effects() if effect.startswith("rent/")}
    assert charged == {f"rent/{place}side_effect/charge" for place in ("", "2/", "3/")}
