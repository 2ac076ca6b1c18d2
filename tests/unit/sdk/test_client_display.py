"""Infos and trees as a console and a notebook show them."""

from __future__ import annotations

import inspect
from html.parser import HTMLParser
from typing import Any

import pytest

from tempolite_sdk import (
    AttemptInfo,
    ClusterInfo,
    Component,
    ComponentStats,
    ExecutionStatus,
    ExecutionTree,
    FailureInfo,
    HandlerInfo,
    MemberInfo,
    NodeInfo,
    OperationKind,
    OperationStatus,
    Payload,
    Pool,
    SentSignal,
    Stats,
    UnconsumedSignal,
)

from .test_client_tree import START, TREE, execution, operation

FAILURE = FailureInfo("ValueError", "no <b>stock</b>", traceback="Traceback …\n  line 1\n" * 50)
FAILED = execution(
    "e1",
    "fulfil",
    ExecutionStatus.FAILED,
    failure=FAILURE,
    arguments=Payload(b'["' + b"tea" * 5_000 + b'"]'),
    attempts=(AttemptInfo(number=1, failure=FAILURE, start_time=START, end_time=START),),
)
POOL = Pool(
    component=Component.SAGA,
    workers=4,
    busy=0,
    paused=False,
    queued=0,
    queue_limit=0,
    rate_limit=0.0,
    retry_policy=None,
)
NODE = NodeInfo(
    node_id="a",
    version="0.1.0",
    start_time=START,
    incarnation=3,
    applied_index=12,
    draining=False,
    python_version="3.13",
    sqlite_version="3.46",
)
STATS = Stats(
    revision=7,
    handler=ComponentStats(active=2, running=1),
    saga=ComponentStats(),
    compensation=ComponentStats(),
    side_effect=ComponentStats(),
)
CLUSTER = ClusterInfo(
    name="shop",
    node_id="a",
    role="leader",
    leader="a",
    leader_api_address=None,
    term=4,
    commit_index=9,
    applied_index=9,
    members=tuple(MemberInfo(node_id=id, address=f"{id}:1", live=True) for id in "abcdef"),
)
HANDLER = HandlerInfo(
    name="fulfil", component=Component.HANDLER, is_async=False, arguments_schema={"type": "object"}, result_schema={}
)
SIGNAL = SentSignal(name="progress", payload={"done": 0.5}, sequence=3, send_time=START)
RESERVED = operation(OperationKind.STEP, "Reserve#1", OperationStatus.FAILED, target="shop:Reserve", failure=FAILURE)

LINES = {
    "ExecutionInfo(id='e1', handler='fulfil', status='failed', attempt=1, "
    "failure=FailureInfo('ValueError: no <b>stock</b>'))": FAILED,
    "OperationInfo(id='e1/step/Reserve#1', status='failed', target='shop:Reserve', attempt=1, "
    "failure=FailureInfo('ValueError: no <b>stock</b>'))": RESERVED,
    "ExecutionTree(id='e1', handler='fulfil', status='completed', operations=3, children=1, executions=2)": TREE,
    "Pool(component='saga', workers=4, busy=0, queued=0, paused=False)": POOL,
    "NodeInfo(node_id='a', version='0.1.0', applied_index=12, draining=False)": NODE,
    "Stats(revision=7, handler=ComponentStats(active=2, running=1), saga=ComponentStats(), "
    "compensation=ComponentStats(), side_effect=ComponentStats())": STATS,
    "ClusterInfo(name='shop', node_id='a', role='leader', leader='a', term=4, applied_index=9, "
    "members=('a', 'b', 'c', 'd', 'e', …))": CLUSTER,
    "MemberInfo(node_id='a', address='a:1', live=True)": CLUSTER.members[0],
    "HandlerInfo(name='fulfil', component='handler', is_async=False)": HANDLER,
    "SentSignal(name='progress', payload={'done': 0.5}, sequence=3)": SIGNAL,
    "UnconsumedSignal(name='go', sequence=2, sender='execution e2', set_aside='by: is required')": UnconsumedSignal(
        name="go", sequence=2, sender="execution e2", send_time=START, set_aside="by: is required"
    ),
    "AttemptInfo(number=1, failure=FailureInfo('ValueError: no <b>stock</b>'), start_time=2026-01-02 03:04:05+00:00, "
    "end_time=2026-01-02 03:04:05+00:00)": FAILED.attempts[0],
}


class Balance(HTMLParser):
    """Whether each tag is closed, in order; what is text; and which tags there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(("line", "info"), LINES.items(), ids=lambda each: type(each).__name__)
def test_an_info_reads_in_one_line_that_says_what_matters(line: str, info: Any) -> None:
    assert repr(info) == line


def test_a_value_of_any_length_takes_a_part_of_the_line() -> None:
    long = FailureInfo("ValueError", "very\nlong " * 10_000)
    told = repr(execution("e1", "fulfil", ExecutionStatus.FAILED, failure=long, reason="because " * 1_000))

    assert "\n" not in told
    assert len(told) < 300


@pytest.mark.parametrize("info", LINES.values(), ids=lambda each: type(each).__name__)
def test_a_notebook_shows_an_info_as_a_table_and_what_users_wrote_as_text(info: Any) -> None:
    html = Balance(info._repr_html_())

    assert html.tags <= {
        "table",
        "caption",
        "tr",
        "th",
        "td",
        "code",
        "details",
        "summary",
        "pre",
        "ul",
        "li",
        "br",
        "div",
    }
    assert "ValueError" not in html.text or "no <b>stock</b>" in html.text


def test_a_notebook_shows_attempts_and_tracebacks_of_an_execution_and_a_part_of_a_large_payload() -> None:
    html = Balance(FAILED._repr_html_())

    assert "AttemptInfo" in html.text
    assert html.text.count("Traceback …") == 100
    assert len(html.text) < 10_000


def test_a_notebook_shows_a_tree_with_the_lines_of_its_text() -> None:
    html = Balance(TREE._repr_html_())

    for line in TREE.render().splitlines():
        assert line.strip("│├└─ ").replace("✗ ", "") in html.text.replace("✗ ", "")
    assert {"details", "li"} <= html.tags


def test_a_tree_that_is_too_large_for_a_notebook_says_how_to_see_it() -> None:
    waits = tuple(
        operation(OperationKind.TIMER, f"sleep#{number}", OperationStatus.COMPLETED) for number in range(1_000)
    )
    html = Balance(ExecutionTree(execution=FAILED, operations=waits)._repr_html_())

    assert "1,001 lines are too many here; print(tree.render())" in html.text
    assert len(html.text) < 500


def test_every_public_info_is_shown_so() -> None:
    import tempolite_sdk

    infos = [
        getattr(tempolite_sdk, name)
        for name in tempolite_sdk.__all__
        if name.endswith(("Info", "Stats", "Tree", "Pool", "Signal")) and name not in ("FailureInfo", "Signal")
    ]
    assert len(infos) == 13
    assert all(inspect.isfunction(info._repr_html_) for info in infos)
    assert {type(info) for info in LINES.values()} == {info for info in infos if info is not ComponentStats}
