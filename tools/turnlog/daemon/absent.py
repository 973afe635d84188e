"""The status where no daemon answers: from the log alone, or from what a daemon wrote down last."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from turnlog.config import Config
from turnlog.daemon.attention import attention
from turnlog.daemon.status import Status

STATUS_NAME = "status.json"


@cache
def turnlog_version() -> str:
    """The version of this program."""
    from importlib.metadata import version  # 25 ms, which would make every start longer

    return version("turnlog")


def status_without(directory: Path, config: Config) -> Status:
    """How everything is where no daemon runs. Raises LogUnavailable, NewerFormat."""
    from turnlog.daemon.figures import from_log

    now = datetime.now(UTC)
    counted = from_log(directory, config, now)
    status = Status(
        state="not running",
        at=now,
        directory=str(directory),
        version=turnlog_version(),
        config=str(config.path) if config.path else None,
        last_seq=counted.last_seq,
        events=counted.events,
        turns=counted.turns,
        sync=counted.sync,
        sources=counted.sources,
        sinks=counted.sinks,
        notices=counted.notices,
    )
    return replace(status, attention=attention(status))


def last_written(directory: Path, problem: str) -> Status:
    """What a daemon that does not answer wrote down last, with that as its problem."""
    now = datetime.now(UTC)
    status = Status(state="starting", at=now, directory=str(directory), version=turnlog_version(), running=True)
    with suppress(OSError, msgspec.MsgspecError):
        status = msgspec.json.decode((directory / STATUS_NAME).read_bytes(), type=Status)
    status = replace(status, problems=(problem, *status.problems))
    return replace(status, attention=attention(status))
