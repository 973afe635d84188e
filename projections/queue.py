"""Turns that wait in order, in four bytes each."""

from array import array
from collections.abc import Iterable, Iterator


class Queue:
    """Ordinals of turns, taken from the front one after the other.

    What a lane has to send: with a million turns pending a deque for each lane takes ten times the memory.
    """

    __slots__ = ("_head", "_items")

    def __init__(self, ordinals: Iterable[int] = ()) -> None:
        self._items = array("I", ordinals)
        self._head = 0  # what stands before it was taken, and is cut off when that is worth it

    def append(self, ordinal: int) -> None:
        """Add one at the end."""
        self._items.append(ordinal)

    def insert(self, position: int, ordinal: int) -> None:
        """Put one where `position` others are before it."""
        self._items.insert(self._head + position, ordinal)

    def popleft(self) -> int:
        """Take the first one. Raises IndexError if there is none."""
        ordinal = self._items[self._head]
        self._head += 1
        if self._head * 2 >= len(self._items):
            del self._items[: self._head]
            self._head = 0
        return ordinal

    def remove(self, ordinal: int) -> None:
        """Take one out, wherever it is. Raises ValueError if it is not there."""
        del self._items[self._items.index(ordinal, self._head)]

    def index(self, ordinal: int) -> int:
        """How many are before this one. Raises ValueError if it is not there."""
        return self._items.index(ordinal, self._head) - self._head

    def __getitem__(self, position: int) -> int:
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return self._items[position if position < 0 else self._head + position]

    def __len__(self) -> int:
        return len(self._items) - self._head

    def __iter__(self) -> Iterator[int]:
        items = self._items
        return (items[at] for at in range(self._head, len(items)))

    def __reversed__(self) -> Iterator[int]:
        items = self._items
        return (items[at] for at in range(len(items) - 1, self._head - 1, -1))

    def __contains__(self, ordinal: object) -> bool:
        return ordinal in self._items[self._head :]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and list(self) == list(other)

    def __hash__(self) -> int:
        raise TypeError("a queue changes, so it cannot be hashed")

    def __repr__(self) -> str:
        return f"Queue({list(self)})"
