"""The arguments of an execution, for comparing a request with the one that made it; also when most of them are gone."""

from __future__ import annotations

import hashlib

import msgspec

_WHOLE_MAX = 64  #: bytes; of more, a digest takes less
_DIGEST = b"sha256:"  #: no JSON begins with it


def kept_arguments(arguments: bytes) -> bytes:
    """What stays of them when the journal goes: they themselves, if they are short, or a digest of what they say."""
    return arguments if len(arguments) <= _WHOLE_MAX else _digest(arguments)


def are_whole(kept: bytes) -> bool:
    """Whether they can be shown, and are not just a digest."""
    return not kept.startswith(_DIGEST)


def same_arguments(kept: bytes, other: bytes) -> bool:
    """Whether both are the same value, whatever the order of their keys and the space between them."""
    if not are_whole(kept):
        return kept == _digest(other)
    return kept == other or _canonical(kept) == _canonical(other)


def _digest(arguments: bytes) -> bytes:
    return _DIGEST + hashlib.sha256(_canonical(arguments)).digest()


def _canonical(data: bytes) -> bytes:
    """No arguments are the same by position and by name. What can't be read, for its depth or its numbers, stays."""
    try:
        return msgspec.json.encode(msgspec.json.decode(data) or {}, order="deterministic")
    except (msgspec.MsgspecError, ValueError, RecursionError):  # up to msgspec 0.20 the first is not of the second
        return data
