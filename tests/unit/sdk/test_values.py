"""A value comes back as it is, or with another container and equal content, or is refused with its place."""

from __future__ import annotations

import dataclasses
import enum
import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempolite_sdk.errors import InvalidArgument
from tempolite_sdk.payload import decode
from tempolite_sdk.values.written import (
    Written,
    encode_as,
    encode_fields_as_they_are,
    encode_for_reader,
    salvaged_fields,
    tell_once,
)

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(enum.StrEnum):
    GOOD = "good"


@dataclass
class Order:
    sku: str
    price: Decimal
    at: datetime | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class RushOrder(Order):
    courier: str = "none"


@dataclass
class Loose:
    content: Any


@dataclass
class Page(Generic[T]):
    items: list[T]


class Pair(msgspec.Struct, Generic[T]):
    left: T
    right: T


class Labelled(TypedDict, Generic[T]):
    content: T


class Line(msgspec.Struct, rename="camel", tag=True):
    unit_price: float
    sizes: set[Size] = set()


class Point(NamedTuple):
    x: int
    y: float


class Address(TypedDict, total=False):
    street: str
    number: int


class Customer(pydantic.BaseModel):
    id: uuid.UUID
    since: date
    orders: list[Decimal] = []


# --- any value of any type


def zones() -> st.SearchStrategy[tzinfo | None]:
    seconds = st.integers(-86_399, 86_399).map(lambda offset: timezone(timedelta(seconds=offset)))
    named = st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")])
    return st.none() | st.just(UTC) | seconds | named


SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (type(None), st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (float, st.floats()),
    (str, st.text()),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=zones())),
    (date, st.dates()),
    (time, st.times(timezones=zones())),
    (timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals().filter(lambda value: not value.is_snan())),  # which can be in no set
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Mood, st.sampled_from(Mood)),
]
LOOSE = st.recursive(
    st.one_of([strategy for _type, strategy in SCALARS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.uuids(), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
        | st.builds(Loose, inner)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)
CLASSES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Order, st.builds(Order, st.text(), st.decimals(), st.none() | st.datetimes(timezones=zones()))),
    (Order, st.builds(RushOrder, st.text(), st.decimals(), courier=st.text())),
    (Loose, st.builds(Loose, LOOSE)),
    (Line, st.builds(Line, st.floats(), st.sets(st.sampled_from(Size)))),
    (Point, st.builds(Point, st.integers(), st.floats())),
    (Address, st.fixed_dictionaries({}, optional={"street": st.text(), "number": st.integers(), "lost": st.text()})),
    (
        Customer,
        st.builds(
            Customer,
            id=st.uuids(),
            since=st.dates(),
            orders=st.lists(st.decimals(allow_nan=False, allow_infinity=False), max_size=2),
        ),
    ),
    (Any, LOOSE),
    (Decimal, st.floats()),
    (str, LOOSE),
    (float, st.integers()),
]
HASHABLE = [each for each in SCALARS if each[0] not in (type(None), bool)]


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A type, and a value that is meant as one of it."""
    if depth == 0 or draw(st.booleans()):
        type, values = draw(st.sampled_from(SCALARS + CLASSES))
        return type, draw(values)
    made = draw(st.sampled_from(["list", "tuple", "set", "dict", "optional", "tuple for a list", "list for a tuple"]))
    if made in ("set", "dict"):
        key_type, keys = draw(st.sampled_from(HASHABLE))
        if made == "set":
            return set[key_type], draw(st.sets(keys, max_size=3) | st.frozensets(keys, max_size=3))  # type: ignore[valid-type]
        type, value = draw(typed_values(depth - 1))
        return dict[key_type, type], dict.fromkeys(draw(st.sets(keys, max_size=2)), value)  # type: ignore[valid-type]
    type, value = draw(typed_values(depth - 1))
    if made == "optional":
        return type | None if type is not Any else Any, draw(st.sampled_from([value, None]))
    count = draw(st.integers(0, 3))
    of_list = made in ("list", "tuple for a list")
    values = [value] * count if made in ("list", "list for a tuple") else (value,) * count
    return (list[type] if of_list else tuple[type, ...]), values  # type: ignore[valid-type]


def outcome(type: Any, value: Any) -> Written | InvalidArgument:
    try:
        return encode_as(type, value)
    except InvalidArgument as refused:
        return refused


def is_same(value: Any, read: Any) -> bool:
    """Written apart from what is tested: of the same type and equal, but for containers, which may be alike."""
    if isinstance(value, set | frozenset):
        return isinstance(read, set | frozenset | list | tuple) and sorted(map(repr, value)) == sorted(map(repr, read))
    if isinstance(value, dict):
        return (
            isinstance(read, dict)
            and len(value) == len(read)
            and all(any(is_same(k, r) and is_same(v, read[r]) for r in read) for k, v in value.items())
        )
    if isinstance(value, list | tuple):
        return isinstance(read, list | tuple) and len(value) == len(read) and all(map(is_same, value, read))
    if type(value) is int and type(read) is float:
        return value == read  # a float was asked for
    if (isinstance(value, Mood) and type(read) is str) or (isinstance(value, Size) and type(read) is int):
        return value == read  # and so was the base of the enum
    if type(value) is float and type(read) is Decimal:
        return Decimal(str(value)) == read
    if type(value) is str and read is not None and not isinstance(read, str):
        return True  # JSON as it is, where a type was asked for that says how it is read
    if type(value) is not type(read):
        return False
    if isinstance(value, datetime | time):
        return value.isoformat() == read.isoformat()
    if isinstance(value, Decimal):
        return str(value) == str(read)
    if isinstance(value, Customer):
        return bool(value == read)
    if dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct):
        names = value.__struct_fields__ if isinstance(value, msgspec.Struct) else value.__dataclass_fields__
        return all(is_same(getattr(value, name), getattr(read, name)) for name in names)
    return bool(value == read)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draws make tables of characters
@given(typed_values())
def test_a_value_comes_back_as_it_is_or_is_refused(typed: tuple[Any, Any]) -> None:
    type, value = typed
    written = outcome(type, value)

    if isinstance(written, InvalidArgument):
        assert written.violations
    else:
        assert is_same(value, written[1])
        assert is_same(value, decode(written[0], type))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LOOSE)
def test_a_value_without_a_type_comes_back_as_it_is_or_is_refused(value: Any) -> None:
    written = outcome(Any, value)

    if isinstance(written, InvalidArgument):
        assert written.violations
    else:
        assert is_same(value, written[1])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LOOSE)
def test_a_value_whose_reader_says_its_type_is_refused_with_its_place_or_not_at_all(value: Any) -> None:
    try:
        data = encode_for_reader(value)
    except InvalidArgument as refused:
        assert refused.violations  # noqa: PT017
    else:
        assert b"NaN" in data or "nan" not in repr(value)


# --- what is refused, and what is said of it


class Alias(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")


class AliasWithDefault(pydantic.BaseModel):
    nick: str | None = pydantic.Field(default=None, alias="nickName")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    half: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def whole(self) -> int:
        return self.half * 2


class Secret(pydantic.BaseModel):
    key: pydantic.SecretStr


class Dog(pydantic.BaseModel):
    name: str


class Puppy(Dog):
    age: int = 1


@pydantic.dataclasses.dataclass
class Positive:
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def is_positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError("negative")
        return value


@pydantic.dataclasses.dataclass
class Checked(Generic[T]):
    number: T

    @pydantic.field_validator("number")
    @classmethod
    def is_positive(cls, value: Any) -> Any:
        if value < 0:
            raise ValueError("negative")
        return value


def negative(kind: type[Any] = Positive) -> Any:
    made = kind(1)
    object.__setattr__(made, "number", -1)
    return made


NAN = float("nan")
LMT = timezone(timedelta(minutes=53, seconds=28))


@pytest.mark.parametrize(
    ("type", "value", "place", "told"),
    [
        (float, NAN, "", "nan can't be stored"),
        (float | None, NAN, "", "nan can't be stored"),
        (dict[str, Any], {"a": {"b": [1.0, float("inf")]}}, "a.b[1]", "inf can't be stored"),
        (Any, Decimal("1.5"), "", "a Decimal would come back as a str: an annotation or type=Decimal"),
        (
            Any,
            {"at": datetime(2024, 1, 1)},
            "at",
            "a datetime would come back as a str: an annotation or type=datetime",
        ),
        (Any, [Order("tea", Decimal(1))], "[0]", "an Order would come back as a dict: an annotation or type=Order"),
        (Any, {1: "a"}, "", "the key 1 would come back as another one"),
        (Any, {1, 2}, "", "a set would come back as a list: an annotation or type=set"),
        (Any, Mood.GOOD, "", "a Mood would come back as a str: an annotation or type=Mood"),
        (Any, Point(1, 2.0), "", "a Point would come back as a list: an annotation or type=Point"),
        (Any, b"ab", "", "a bytes would come back as a str: an annotation or type=bytes"),
        (str, datetime(2024, 1, 1), "", "a datetime would come back as a str"),
        (int, Decimal(1), "", "the JSON of a Decimal is not what its annotation or type= says"),
        (float, 2**53 + 1, "", "an int would come back as a float: an annotation or type=int"),
        (list[Order], [RushOrder("tea", Decimal(1))], "[0]", "a RushOrder would come back as an Order without courier"),
        (Address, {"street": "Elm", "zip": "1"}, "", "a dict would come back without 'zip'"),
        (Order, {"sku": "tea", "price": 1, "gift": True}, "", "an Order has no field 'gift'"),
        (Loose, Loose({"n": Decimal(1)}), "content.n", "a Decimal would come back as a str"),
        (datetime, datetime(1890, 1, 1, tzinfo=LMT), "", "JSON's offsets have no seconds"),
        (Any, [object()], "[0]", "has no JSON form"),
        (
            Alias,
            Alias(orderId="1"),
            "",
            "orderId: Field required; the JSON of an Alias is not what its annotation or type=",
        ),
        (AliasWithDefault, AliasWithDefault(nickName="bob"), "nick", "its class leaves it out of its JSON"),
        (Strict, Strict(id=uuid.uuid4()), "", "id: Input should be an instance of UUID"),
        (Computed, Computed(half=1), "", "whole: Extra inputs are not permitted"),
        (Secret, Secret(key="s3cr3t"), "key", "this SecretStr would come back as another one"),
        (list[Dog], [Puppy(name="x")], "[0]", "a Puppy would come back as a Dog without age"),
        (list[Positive], [negative()], "[0]", "number: Value error, negative"),
        (Checked[int], negative(Checked), "", "number: Value error, negative"),
        (set, [Decimal(1)], "[0]", "a Decimal in it would come back as another one: an annotation or type=Decimal"),
        (frozenset, ["ok", Mood.GOOD], "[1]", "a Mood would come back as a str: an annotation or type=Mood"),
        (Annotated[int, msgspec.Meta(ge=0)], -1, "", "Expected `int` >= 0"),
        (Annotated[int, pydantic.Field(ge=0)], -1, "", "Input should be greater than or equal to 0"),
    ],
)
def test_what_would_come_back_different_is_refused(type: Any, value: Any, place: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        encode_as(type, value)

    [violation] = refused.value.violations
    assert violation.field == place
    assert told in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (Order, {"sku": "tea", "price": "1.50", "at": "2024-01-01T00:00:00Z"}),
        (Customer, {"id": str(uuid.UUID(int=1)), "since": "2024-01-01"}),
        (Line, {"type": "Line", "unitPrice": 1.5, "sizes": [1]}),
        (Color, "red"),
        (Decimal, 1.5),
        (set[int], [1, 2]),
        (dict[str, Any], OrderedDict(a=1)),
        (str, Mood.GOOD),
        (Positive, Positive(1)),
        (datetime, datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))),
        (datetime, datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))),
        (int, 2**70),
    ],
)
def test_what_the_type_says_how_to_read_is_taken(type: Any, value: Any) -> None:
    """JSON where a richer type is asked for; the base of an enum; the hour that the clocks show twice."""
    _data, read, _change = encode_as(type, value)

    assert read == decode(msgspec.json.encode(value), type)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (Page[Decimal], Page([Decimal("1.50")])),
        (list[Page[Page[int]]], [Page([Page([1])])]),
        (Pair[date] | None, Pair(date(2024, 1, 1), date(2024, 1, 2))),
        (Labelled[Decimal], {"content": Decimal(1)}),
        (Checked[int], Checked(1)),
    ],
)
def test_what_a_generic_class_is_of_says_how_it_is_read(type: Any, value: Any) -> None:
    _data, read, change = encode_as(type, value)

    assert read == value
    assert change is None


@pytest.mark.parametrize("value", [{"rate": NAN}, Loose(Decimal(1)), Secret(key="s3cr3t"), {1: "a", "1": "b"}])
def test_what_no_reader_could_have_again_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="would come back as"):
        encode_for_reader(value)


@pytest.mark.parametrize("value", [Decimal(1), {1: {Color.RED}}, Order("tea", Decimal(1)), Page([Decimal(1)])])
def test_what_a_reader_can_have_again_when_it_says_the_type_is_taken(value: Any) -> None:
    encode_for_reader(value)


def test_a_container_that_changes_is_told_once_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    data, read, change = encode_as(Any, (1, [2, (3,)]))
    assert (data, read) == (b"[1,[2,[3]]]", [1, [2, [3]]])

    with caplog.at_level(logging.WARNING):
        for what in ("the result of f", "the result of f", "the result of g"):
            tell_once(what, change)

    assert [record.getMessage() for record in caplog.records] == [
        "the result of f: a tuple comes back as a list with equal content (told once)",
        "the result of g: a tuple comes back as a list with equal content (told once)",
    ]


# --- the fields of steps


def test_the_fields_of_a_step_are_refused_as_any_value_is() -> None:
    with pytest.raises(InvalidArgument, match="content: a Decimal would come back as a str"):
        encode_fields_as_they_are(Loose(Decimal(1)))


def test_of_fields_that_cannot_all_be_stored_the_others_are_kept() -> None:
    before = msgspec.json.encode(Order("tea", Decimal(1)))
    after = Order("coffee", Decimal(2), notes=[object()])  # type: ignore[list-item]

    assert decode(salvaged_fields(after, before), Order) == Order("coffee", Decimal(2), notes=[])
