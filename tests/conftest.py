"""For all tests: what does not depend on the machine, and what was not run on it.

With TEMPOLITE_TESTS_PORTABLE set they run without what is Linux's own (`scripts/test --portable`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

if os.environ.get("TEMPOLITE_TESTS_PORTABLE"):
    from tests.portable.without_linux import take_away

    take_away()
    # And so do the processes that they start.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "portable")

# How long an example takes is a matter of the machine, and of what else it does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_CAMPAIGNS = "campaign"  #: under which the number of deselected tests of a campaign travels from a worker
_left_out: Counter[str] = Counter()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    _left_out[_CAMPAIGNS] += sum(any(item.iter_markers("cluster")) or any(item.iter_markers("sweep")) for item in items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[_CAMPAIGNS] = _left_out[_CAMPAIGNS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker of pytest-xdist has collected the same."""
    left_out = getattr(node, "workeroutput", {}).get(_CAMPAIGNS, 0)
    _left_out[_CAMPAIGNS] = max(_left_out[_CAMPAIGNS], left_out)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines: which tests did not run, and why."""
    skipped = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    campaigns = _left_out[_CAMPAIGNS]
    terminalreporter.section("not run")
    for reason, count in sorted(skipped.items()):
        terminalreporter.line(f"{count} skipped: {reason}")
    if not skipped:
        terminalreporter.line("nothing was skipped")
    if campaigns:
        terminalreporter.line(f"{campaigns} of the long campaigns are left out: scripts/campaign --help")


def _reason(report: Any) -> str:
    _, _, reason = report.longrepr
    return str(reason).removeprefix("Skipped: ")
