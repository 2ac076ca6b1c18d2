"""What JSON has as it is."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any

from tempolite_sdk.values.fields import parts
from tempolite_sdk.values.refusals import refuse_non_finite, within

ATOMS = frozenset({NoneType, bool, int, str})
PLAIN = ATOMS | {float, list, dict}
STR = frozenset({str})


def is_plain(value: Any) -> bool:
    """Whether it is of JSON's own types all through, which come back as they are with no type that tells."""
    left = [value]
    while left:
        each = left.pop()
        kind = type(each)
        if kind is dict:
            for key, inner in each.items():
                if type(key) is not str:
                    return False
                if type(inner) not in ATOMS:
                    left.append(inner)
        elif kind is list:
            if not ATOMS.issuperset(map(type, each)):
                left += [inner for inner in each if type(inner) not in ATOMS]
        elif kind is float:
            if not math.isfinite(each):
                return False
        elif kind not in ATOMS:
            return False
    return True


def find_non_finite(value: Any) -> None:
    """Raises Different: a float in it is no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        refuse_non_finite(value)
    for place, each in parts(value):
        within(place, find_non_finite, each)
