"""What pydantic alone can check: dataclasses of its own, and constraints of its own in `Annotated`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from tempolite_sdk.payload import error_told, told_by_model
from tempolite_sdk.values.fields import parts
from tempolite_sdk.values.refusals import Different, within


def has_validator(cls: Any) -> bool:
    """Whether it is a dataclass of pydantic: msgspec makes its instances without asking their validators."""
    return dataclasses.is_dataclass(cls) and hasattr(cls, "__pydantic_validator__")


def validate(read: Any) -> None:
    """Asks the validators of pydantic's dataclasses, in the value and all that it holds."""
    for place, each in parts(read):
        within(place, validate, each)
    if has_validator(type(read)):
        given = {field.name: getattr(read, field.name) for field in dataclasses.fields(read) if field.init}
        _ask(type(read).__pydantic_validator__.validate_python, given)


def constraints_of(type: Any) -> Callable[[Any], None] | None:
    """What checks the constraints that pydantic has put into an `Annotated`; None: there are none."""
    if not has_constraints(type):
        return None
    from pydantic import TypeAdapter  # whose constraints they are: it is there

    adapter: TypeAdapter[Any] = TypeAdapter(type)
    return lambda read: _ask(adapter.validate_python, read)


def has_constraints(type: Any) -> bool:
    """Whether pydantic has put constraints into it."""
    of = get_args(type)
    if get_origin(type) is Annotated and any(_is_constraint(each) for each in of[1:]):
        return True
    return any(has_constraints(each) for each in of)


def _is_constraint(metadata: Any) -> bool:
    return type(metadata).__module__.partition(".")[0] in ("pydantic", "annotated_types")


def _ask(validator: Callable[[Any], Any], given: Any) -> None:
    try:
        validator(given)
    except ValueError as error:
        raise Different(told_by_model(error) or str(error)) from error
    except Exception as error:  # a validator may raise anything
        raise Different(error_told(error)) from error
