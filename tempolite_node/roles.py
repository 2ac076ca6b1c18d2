"""Who may do what, as tokens and certificates say it. Which call needs which role: `api/auth.py`."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Each may do what the one before it may, and more."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"
