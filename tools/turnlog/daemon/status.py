"""How the daemon and all that it looks after are: one value, from which the table, the JSON and the metrics are made.

Everything that is counted comes from the log, so it survives a restart; what is of this process alone (memory, parts,
`looked_at`) is None where no daemon runs. Only msgspec is imported here: whoever asks a daemon need not load a log.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

State = Literal["starting", "running", "draining", "drained", "waiting", "not running"]
"""`waiting`: the log's folder is not there; `drained`: nothing is begun any more, until `turnlog daemon reload`."""

PartState = Literal["starting", "running", "restarting", "stuck", "stopped"]


class SyncStatus(Struct, frozen=True):
    """The requests to all sinks: how many were made and failed, the last one's time and duration, the next one's time.

    `next_at` is the next time at which something is looked at by itself (the sweep, a probe, a retry); what is
    recorded is sent at once. None where nothing is planned.
    """

    done: int = 0
    errors: int = 0
    last_at: datetime | None = None
    last_seconds: float | None = None
    next_at: datetime | None = None


class SourceStatus(Struct, frozen=True):
    """One source, as the log and its watcher know it.

    `looked_at` is when its files were looked at last, `read_at` when something in them was read last. `lag_seconds` is
    how long the oldest thing that was seen in a file is waiting to be recorded, 0 if nothing is; None: nobody watches.
    """

    source: str
    watched: bool = False
    turns: int = 0
    quarantined: int = 0
    streams: int = 0
    looked_at: datetime | None = None
    read_at: datetime | None = None
    last_turn_at: datetime | None = None
    lag_seconds: float | None = None


class Latency(Struct, frozen=True):
    """How long requests took: how many at most as long as each of `projections.statistics.LATENCY_BOUNDS_SECONDS` and
    longer than the one before, then how many were longer than all; and their sum."""

    counts: tuple[int, ...] = ()
    seconds: float = 0.0


class SinkStatus(Struct, frozen=True):
    """One sink. `state` is one of those of `turnlog sinks`: new, ok, idle, paused, retired, unconfigured.

    `oldest_undelivered_seconds` is the age of the oldest turn that it has not got, dead ones aside; None if there is
    none. `paused` is the kind of what it is paused for, since `paused_since`, and `next_probe_at` when it is asked
    again. The counts are turns; `rate` is turns a second over the last minute; `requests` were made in all its life, of
    which `errors` failed, and the last one took `last_seconds`; `failures` counts the turns in failed ones by kind,
    `outcomes` what came of requests (`succeeded`, `reconciled`, a failure's kind), `latency` how long they took.
    `trouble` is why the daemon does not deliver to it at all: another process does, or its code broke.
    """

    sink: str
    type: str
    state: str
    oldest_undelivered_seconds: float | None = None
    pending: int = 0
    in_flight: int = 0
    retrying: int = 0
    delivered: int = 0
    dead: int = 0
    rate: float = 0.0
    paused: str | None = None
    paused_since: datetime | None = None
    reason: str | None = None
    next_probe_at: datetime | None = None
    last_success_at: datetime | None = None
    last_seconds: float | None = None
    requests: int = 0
    errors: int = 0
    failures: dict[str, int] = {}
    outcomes: dict[str, int] = {}
    latency: Latency = Latency()
    trouble: str | None = None


class PartStatus(Struct, frozen=True):
    """One part of the daemon, `delivery` or `source NAME`: what it does, since when.

    `restarts` counts how often it was started again after it broke, `error` says why that was last, or what it waits
    for (`trouble`); `next_try_at` is when it is started again.
    """

    name: str
    state: PartState
    since: datetime
    restarts: int = 0
    error: str | None = None
    trouble: str | None = None
    next_try_at: datetime | None = None


class Notice(Struct, frozen=True):
    """Something that waits for a person, such as an export that is to be fetched; see `projections.notices`."""

    source: str
    kind: str
    program: str
    title: str
    link: str
    raised_at: datetime
    expires_at: datetime | None = None


class Attention(Struct, frozen=True):
    """What needs a person first, in a sentence, and the command to run."""

    sentence: str
    command: str


class Status(Struct, frozen=True, kw_only=True):
    """The whole; `turnlog daemon status --json` and status.json are this struct.

    `at` is when this was told. `generation` counts the configurations that were applied, from 1. `memory_bytes` is
    resident memory, `cpu_seconds` what was used since the start. `problems` are sentences about what is wrong with the
    daemon as a whole; `reload_error` is why the newest configuration was not taken. `last_seq` is the seq of the last
    event that was counted, `listening` the URL of the monitoring, where there is one.
    """

    state: State
    at: datetime
    directory: str
    version: str
    running: bool = False
    pid: int | None = None
    started_at: datetime | None = None
    uptime_seconds: float | None = None
    config: str | None = None
    generation: int = 0
    reload_error: str | None = None
    listening: str | None = None
    last_seq: int = 0
    events: int = 0
    turns: int = 0
    sync: SyncStatus = SyncStatus()
    sources: tuple[SourceStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    parts: tuple[PartStatus, ...] = ()
    notices: tuple[Notice, ...] = ()
    problems: tuple[str, ...] = ()
    memory_bytes: int | None = None
    cpu_seconds: float | None = None
    attention: Attention | None = None
