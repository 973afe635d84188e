"""What every struct of the log keeps from the moment it is made: its fields' types, and what they say beyond a type.

What is made is checked here, in Python, with a sentence for a person; what is decoded, by msgspec and the same types.
It was checked when it was made, and a check in Python costs four times what the decoding does.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct, StructMeta
from msgspec.structs import astuple, force_setattr

from eventlog.errors import InvalidEvent

_FLOAT_BITS_MAX = 1000  # an integer of more bits is no float
_TYPE_NAMES = {datetime: "a time in UTC", str: "text"}


_make = StructMeta.__call__  # found once: `super()` would cost as much as making the struct


class CheckedWhenMade(StructMeta):
    """The type of structs that are checked when they are made by a call, which raises InvalidEvent.

    A decoder and `msgspec.structs.replace` make them without a call.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A struct of the fields given. Raises InvalidEvent."""
        made = _make(self, *args, **kwargs)
        values = astuple(made)
        questions, lists = _known.get((self, *map(type, values))) or _learn(made, values)
        for index, words, holds in questions:
            if not holds(values[index]):
                raise _invalid(made, index, words)
        for index in lists:
            force_setattr(made, self.__struct_fields__[index], tuple(values[index]))
        return made


Question = tuple[int, str, Callable[[Any], Any]]
"""What is asked of the value at an index, beyond its type: in words, and as a function."""

_known: dict[tuple[type, ...], tuple[list[Question], list[int]]] = {}
"""By a kind of struct and its values' types that were found right: what is to be asked of which values, and which of
them are lists."""


class _Rules(Struct, frozen=True):
    """What the values of a kind of struct are held to: the types that each may have (none: any), and what is asked."""

    types: tuple[tuple[type, ...], ...]
    questions: tuple[Question, ...]


def _learn(made: Struct, values: tuple[Any, ...]) -> tuple[list[Question], list[int]]:
    """What `_known` has of a struct with such types. Raises InvalidEvent for a type that is wrong."""
    kind, rules, types = type(made), _rules(type(made)), tuple(map(type, values))
    for index, allowed in enumerate(rules.types):
        if allowed and not _is_one(values[index], allowed):
            expected = " or ".join(_TYPE_NAMES.get(each, each.__name__) for each in allowed if each is not NoneType)
            raise _invalid(made, index, expected)
    asked = [question for question in rules.questions if types[question[0]] is not NoneType]
    lists = [index for index, allowed in enumerate(rules.types) if tuple in allowed and types[index] is list]
    _known[kind, *types] = asked, lists
    return asked, lists


def _is_one(value: Any, allowed: tuple[type, ...]) -> bool:
    return isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))


def _invalid(made: Struct, index: int, words: str) -> InvalidEvent:
    name = type(made).__struct_fields__[index]
    return InvalidEvent(f"{type(made).__name__}.{name} must be {words}, not {getattr(made, name)!r}")


@cache
def _rules(kind: type[Struct]) -> _Rules:
    plain, full = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    names = kind.__struct_fields__
    questions = [(i, *question) for i, name in enumerate(names) for question in _questions(full[name])]
    return _Rules(tuple(_allowed(plain[name]) for name in names), tuple(questions))


def _allowed(hint: Any) -> tuple[type, ...]:
    if hint is Any:
        return ()
    if get_origin(hint) in (Union, UnionType):
        return tuple(each for arg in get_args(hint) for each in _allowed(arg))
    origin = get_origin(hint) or hint
    return {tuple: (tuple, list), float: (float, int), Literal: (str,)}.get(origin, (origin,))


def _questions(hint: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What a field's type asks of a value beyond what `isinstance` can tell."""
    if hint is float:
        yield "fewer seconds than that", _is_float
    if get_origin(hint) is Literal:
        yield f"one of {', '.join(get_args(hint))}", frozenset(get_args(hint)).__contains__
    if get_origin(hint) is tuple:
        (item,) = only = set(_allowed(get_args(hint)[0]))
        yield f"{item.__name__} and nothing else", lambda values: not values or set(map(type, values)) == only
    if get_origin(hint) is Annotated:
        for meta in hint.__metadata__:
            yield meta.description, meta.ge.__le__ if meta.ge is not None else _is_utc if meta.tz else bool
        yield from _questions(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _questions(each)


def _is_float(value: float) -> bool:
    return not isinstance(value, int) or value.bit_length() <= _FLOAT_BITS_MAX


def _is_utc(value: datetime) -> bool:
    return value.tzinfo is UTC or value.utcoffset() == timedelta(0)
