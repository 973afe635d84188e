"""Queues of ordinals, against a list."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.queue import Queue

steps = st.lists(
    st.tuples(st.sampled_from(["append", "popleft", "insert", "remove", "index"]), st.integers(0, 40)), max_size=60
)


@given(first=st.lists(st.integers(0, 40), unique=True), steps=steps)
def test_it_does_what_a_list_does(first: list[int], steps: list[tuple[str, int]]) -> None:
    """Whatever is put in and taken out, front, middle and end, the same is left in the same order."""
    queue, model = Queue(first), list(first)
    for step, value in steps:
        if step == "append":
            queue.append(value)
            model.append(value)
        elif step == "popleft" and model:
            assert queue.popleft() == model.pop(0)
        elif step == "insert":
            queue.insert(value % (len(model) + 1), value)
            model.insert(value % (len(model) + 1), value)
        elif step == "remove" and value in model:
            queue.remove(value)
            model.remove(value)
        elif step == "index" and value in model:
            assert queue.index(value) == model.index(value)
        assert list(queue) == model
        assert list(reversed(queue)) == model[::-1]
        assert (len(queue), bool(queue)) == (len(model), bool(model))
        assert [queue[at] for at in range(-len(model), len(model))] == model * 2
        assert all((value in queue) == (value in model) for value in range(41))
        assert queue == deepcopy(queue) == Queue(model)


def test_what_is_not_there_cannot_be_had() -> None:
    """Also where something stood that was taken."""
    queue = Queue([5, 6, 7])
    queue.popleft()
    with pytest.raises(IndexError):
        _ = queue[2]
    with pytest.raises(IndexError):
        _ = queue[-3]
    with pytest.raises(ValueError, match="not in"):
        queue.remove(5)
    with pytest.raises(IndexError):
        Queue().popleft()


def test_what_was_taken_takes_no_room() -> None:
    """A queue that grows as fast as it shrinks stays small, and one that is emptied is empty."""
    queue = Queue()
    for ordinal in range(1000):
        queue.append(ordinal)
        if ordinal >= 10:
            assert queue.popleft() == ordinal - 10
        assert len(queue._items) <= 22
