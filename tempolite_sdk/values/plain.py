"""What JSON has as it is."""

from __future__ import annotations

from math import isfinite
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
    for each in left:
        if type(each) is dict:
            for key, inner in each.items():
                if type(key) is not str:
                    return False
                kind = type(inner)
                if kind not in ATOMS:
                    if kind is dict or kind is list:
                        left.append(inner)
                    elif kind is not float or not isfinite(inner):
                        return False
        elif type(each) is list:
            for inner in each:
                kind = type(inner)
                if kind not in ATOMS:
                    if kind is dict or kind is list:
                        left.append(inner)
                    elif kind is not float or not isfinite(inner):
                        return False
        elif type(each) not in ATOMS and not (type(each) is float and isfinite(each)):
            return False
    return True


def find_non_finite(value: Any) -> None:
    """Raises Different: a float in it is no JSON."""
    if isinstance(value, float) and not isfinite(value):
        refuse_non_finite(value)
    for place, each in parts(value):
        within(place, find_non_finite, each)
