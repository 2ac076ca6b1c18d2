"""Durations and sizes in the config."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempolite_node.config.units import format_duration_ms, format_size, parse_duration_ms, parse_size


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("15m", 900_000),
        ("2d", 172_800_000),
        ("1h30m", 5_400_000),
        ("1.5s", 1_500),
        (3, 3_000),
        (0.25, 250),
        ("7", 7_000),
        (0, 0),
    ],
)
def test_a_duration_is_a_number_with_units_or_a_number_of_seconds(written, milliseconds):
    assert parse_duration_ms(written) == milliseconds


@pytest.mark.parametrize("written", ["", "s", "-3s", "3 weeks", "1h 30m", "30S", -1, float("nan"), True, None, [1]])
def test_anything_else_is_not_a_duration(written):
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ms(written)


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back_as_itself(milliseconds):
    assert parse_duration_ms(format_duration_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("written", "size"), [("2MiB", 2 * 1024**2), ("64 KiB", 65536), ("1.5GB", 1_500_000_000), ("10", 10), (7, 7)]
)
def test_a_size_is_a_number_with_a_unit_or_a_number_of_bytes(written, size):
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "2mib", "-2MiB", -1, True, 1.5])
def test_anything_else_is_not_a_size(written):
    with pytest.raises(ValueError, match="size"):
        parse_size(written)


@given(st.integers(0, 2**40))
def test_a_formatted_size_reads_back_as_itself(size):
    assert parse_size(format_size(size)) == size
