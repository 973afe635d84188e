"""Plain data to structs, with sentences for people when it does not fit."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from turnlog.errors import TurnlogError

T = TypeVar("T", bound=msgspec.Struct)


def convert(data: Any, kind: type[T], *, where: str, error: type[TurnlogError]) -> T:
    """`data` (dicts, lists, text, numbers) as the struct `kind`; `where` names it in the error's sentence.

    Raises `error` for an unknown key (naming the nearest known one), a missing one, or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise error(f"{where} must be a table of keys and values, not {type(data).__name__}")
    known = list(kind.__struct_encode_fields__)
    for key in data:
        if key not in known:
            raise error(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, ValueError) as problem:
        raise error(f"{where}: {_sentence(str(problem))}") from problem


def nearest(word: str, known: list[str]) -> str:
    """The end of a sentence about an unknown word: the known one that it may have meant, or all there are."""
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else "; there are none"


def _sentence(problem: str) -> str:
    """msgspec's message in the words of the file: `$.messages[0].role` is the key `messages[0].role`."""
    return problem.replace("Object missing required field", "missing key").replace(" - at `$.", " at `")
