"""Times as other programs write them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from turnlog.errors import WrongUsage

_DIGITS = re.compile(r"[0-9]+(\.[0-9]*)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(value: Any, timezone: tzinfo | None = None) -> datetime | None:
    """The moment that an ISO 8601 text or a number of seconds since 1970 means, None if it means none.

    A time without a zone is in `timezone`, by default in this machine's.
    """
    try:
        if isinstance(value, str) and not _DIGITS.fullmatch(value):  # fromisoformat reads a year in any number
            moment = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = _EPOCH + timedelta(seconds=value)
        else:
            return None
        if moment.tzinfo is None and timezone is not None:
            moment = moment.replace(tzinfo=timezone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def zone(name: str | None) -> tzinfo | None:
    """The time zone that a person named. Raises WrongUsage for one that nobody knows."""
    try:
        return ZoneInfo(name) if name is not None else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise WrongUsage(f"unknown time zone {name!r}; name one such as Europe/Berlin") from error
