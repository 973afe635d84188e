"""Ids for turns that have none."""

import time
from uuid import UUID

import pytest

from turnlog.ids import uuid7


def test_an_id_is_a_uuid_version_7() -> None:
    """Version and variant as RFC 9562 wants them, the milliseconds of now in front."""
    before = time.time_ns() // 1_000_000
    ids = [UUID(uuid7()) for _ in range(200)]
    after = time.time_ns() // 1_000_000
    assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}
    assert all(before <= i.int >> 80 <= after for i in ids)


def test_no_two_ids_are_the_same_and_all_random_bits_move() -> None:
    """74 bits are drawn anew for each: over 2,000 ids every one of them was 0 and was 1."""
    ids = [UUID(uuid7()).int for _ in range(2000)]
    assert len(set(ids)) == 2000
    random_bits = (0xFFF << 64) | ((1 << 62) - 1)
    ones = zeros = 0
    for number in ids:
        ones |= number
        zeros |= ~number
    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits


def test_ids_of_later_milliseconds_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, too, until the year 10889."""
    ids = []
    for milliseconds in (0, 1, 1_700_000_000_000, 1_700_000_000_001, (1 << 48) - 1):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000 + 999_999)
        ids.append(uuid7())
    assert sorted(ids) == ids
