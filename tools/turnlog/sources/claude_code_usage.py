"""Tokens of a turn, counted as Claude Code's files need it.

One message of the API stands on several lines, each with the usage so far: the largest of each number counts, once for
each message id; the messages of a turn are added up. What is no number is kept if it is the same for all, else as a
list of what there is.
"""

from typing import Any

_DEPTH_MAX = 4
_NUMBERS = (int, float)


class _Distinct(dict[Any, None]):
    """Different values of a field, in the order in which they came."""


class UsageTally:
    """Takes in the usage of lines; `total` is that of the turn."""

    def __init__(self) -> None:
        self._by_message: dict[str, dict[str, Any]] = {}

    def add(self, usage: Any, message_id: Any) -> None:
        """Take in what a line says; without an id it is a message of its own."""
        if not isinstance(usage, dict):
            return
        key = message_id if isinstance(message_id, str) else f"#{len(self._by_message)}"
        before = self._by_message.setdefault(key, usage)
        if before is not usage and before != usage:
            self._by_message[key] = _merge(before, usage, add=False)

    def total(self) -> dict[str, Any] | None:
        """The sum over the messages, None where no line had any."""
        total: dict[str, Any] = {}
        for usage in self._by_message.values():
            total = _merge(total, usage, add=True)
        return _in_order(total) if total else None


def _merge(left: dict[str, Any], right: dict[str, Any], *, add: bool, depth: int = 0) -> dict[str, Any]:
    """Both, with numbers added up or the larger of them. Lists say the numbers over again, by steps: they are left out,
    and so is what is nested deeper than usage is. Where one has an object and the other none, the object stays.
    """
    merged = dict(left)
    for key, value in right.items():
        kind = type(value)
        if kind is dict:
            if depth < _DEPTH_MAX:
                before = merged.get(key)
                merged[key] = _merge(before if type(before) is dict else {}, value, add=add, depth=depth + 1)
        elif value is not None and kind is not list:
            before = merged.get(key)
            if type(before) is not dict:
                merged[key] = value if before is None else _merge_values(before, value, add=add)
    return merged


def _merge_values(left: Any, right: Any, *, add: bool) -> Any:
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        return left + right if add else max(left, right)
    if not add:
        return right
    seen = left if type(left) is _Distinct else _Distinct({left: None})
    seen[right] = None
    return seen


def _in_order(usage: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in sorted(usage.items())}


def _plain(value: Any) -> Any:
    if type(value) is _Distinct:
        return list(value) if len(value) > 1 else next(iter(value))
    return _in_order(value) if type(value) is dict else value
