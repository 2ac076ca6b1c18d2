"""Imported by each Python that starts with this directory on its path."""

from without_linux import take_away

take_away()
