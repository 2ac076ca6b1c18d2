"""With TEMPOLITE_TESTS_PORTABLE set, the tests run without what is Linux's own (`scripts/test --portable`)."""

from __future__ import annotations

import os
from pathlib import Path

if os.environ.get("TEMPOLITE_TESTS_PORTABLE"):
    from tests.portable.without_linux import take_away

    take_away()
    # And so do the processes that they start.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "portable")
