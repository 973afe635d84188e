"""What is to be done about an old setup: a value, made by looking, that changes nothing.

Assumed, where nobody knows the old programs any more:

* A mark of progress counts lines (`old_settings.lines_delivered`); one that cannot be understood stops `--apply` until
  `--delivered-lines` says the number.
* `"synced": true` and the mark speak of Memobase; where there is none, of the only other sink that is known.
* A worker's `batch_size` counts conversations, which is what the requests of its server hold. Its server was never sent
  the turns of `save_data.jsonl`, so it is owed only what is recorded from the migration on.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from datetime import tzinfo
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, field, structs

from turnlog.config import WAIT_SECONDS_MAX, Config, SinkConfig, SyncConfig, default_user
from turnlog.errors import ConfigError, WrongUsage
from turnlog.migration.finding import OldFiles
from turnlog.migration.old_settings import Worker, is_calendar, lines_delivered, read_env, read_worker
from turnlog.recorder import TurnRecorder
from turnlog.sinks.http import check_url
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sources.save_data import SaveData

MEMOBASE = "memobase"
SERVER = "server"

_TOKEN_NAMES = ("MEMOBASE_ACCESS_TOKEN", "MEMOBASE_TOKEN")
_MAIL_NAMES = ("OPENAI_EMAIL_USERNAME", "OPENAI_EMAIL_PASSWORD")
_ENV_NAMES = ("MEMOBASE_URL", *_TOKEN_NAMES, "MEMOBASE_SYNC_INTERVAL", "USER_ID", *_MAIL_NAMES)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)

T = TypeVar("T")


class Given(Struct, frozen=True):
    """What a plan is made for: the log's folder, the new configuration and its file, and what the command was told."""

    directory: Path
    config_path: Path
    config: Config
    environ: Mapping[str, str]
    user: str | None = None
    timezone: tzinfo | None = None
    delivered_lines: int | None = None


class Found(Struct, frozen=True):
    """An old file: what it is, and what becomes of it."""

    path: str
    what: str


class NewSecret(Struct, frozen=True):
    """A secret that gets a file of its own, and is shown to nobody."""

    path: Path
    value: str

    def __repr__(self) -> str:
        return f"NewSecret({str(self.path)!r}, ...)"


class PlannedTurns(Struct, frozen=True):
    """The file of turns: whose they are, which sink has those that were delivered, and how many there are.

    `lines` has the file, and `turns` that can be read, of which `new` are not in the log yet.
    """

    path: str
    user: str
    sink: str
    lines_delivered: int
    lines: int
    turns: int
    delivered: int
    owed: int
    unreadable: int
    new: int


class Plan(Struct):
    """What was found and what is to be done. With `problems` nothing is done."""

    found: list[Found] = field(default_factory=list)
    turns: PlannedTurns | None = None
    interval_seconds: float | None = None
    sinks: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[NewSecret] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def changes_configuration(self) -> bool:
        """Whether the file of the configuration is to be written."""
        return bool(self.sinks) or self.interval_seconds is not None

    def attempt(self, action: Callable[[], T]) -> T | None:
        """What `action` returns; None if it finds something wrong, which is noted."""
        try:
            return action()
        except (ConfigError, WrongUsage) as error:
            self.problems.append(str(error))
            return None


def make_plan(old: OldFiles, given: Given) -> Plan:
    """Look at the files and say what is to be done. Raises TurnlogError if a package that reads them is missing."""
    plan = Plan()
    env = _take_env(plan, old)
    workers = _take_workers(plan, old)
    memobase = _plan_memobase(plan, env, given)
    _plan_servers(plan, workers, given, backfill=memobase is None)
    _plan_interval(plan, env, workers, given)
    _plan_turns(plan, old, env, given, memobase)
    _leave_alone(plan, old, env)
    return plan


def save_data(turns: PlannedTurns, timezone: tzinfo | None) -> SaveData:
    """What reads the planned turns."""
    return SaveData(
        user=turns.user, already_synced_to=turns.sink, lines_synced=turns.lines_delivered, timezone=timezone
    )


def _take_env(plan: Plan, old: OldFiles) -> dict[str, str]:
    """The old variables in the file."""
    path = old.env
    said = (plan.attempt(lambda: read_env(path)) or {}) if path else {}
    if path:
        known = [name for name in _ENV_NAMES if name in said]
        plan.found.append(Found(str(path), f"variables: {', '.join(known) or 'none that Turnlog knows'}"))
    return said


def _take_workers(plan: Plan, old: OldFiles) -> list[tuple[Path, Worker]]:
    workers = []
    for path in old.workers:
        worker = plan.attempt(lambda path=path: read_worker(path))  # type: ignore[misc]
        if worker is not None:
            workers.append((path, worker))
            plan.found.append(Found(str(path), f"a worker that sends to {_told(worker.url)}"))
    return workers


def _told(url: str | None) -> str:
    try:
        check_url(url or "")
    except ValueError:
        return "an address that is no plain URL" if url else "nowhere"
    return str(url)


def _plan_memobase(plan: Plan, env: Mapping[str, str], given: Given) -> str | None:
    """The name of the sink that is Memobase, now or soon; None if there is none."""
    known = _of_type(given.config, MEMOBASE)
    url = env.get("MEMOBASE_URL") or given.environ.get("MEMOBASE_URL")
    if known:
        plan.left_alone.append(
            f"the sink {known[0].name!r} of {given.config_path} is Memobase already; it stays as it is"
        )
        return known[0].name
    if not url or plan.attempt(lambda: _checked(url, "MEMOBASE_URL")) is None:
        return None
    table: dict[str, Any] = {"name": _free_name(plan, given, MEMOBASE), "type": MEMOBASE, "url": url}
    name = next((name for name in _TOKEN_NAMES if env.get(name) or given.environ.get(name)), None)
    if name is not None:
        table |= _token(plan, env.get(name) or f"${{{name}}}", name, f"{table['name']}.token", given)
    plan.sinks.append(table)
    return str(table["name"])


def _plan_servers(plan: Plan, workers: list[tuple[Path, Worker]], given: Given, *, backfill: bool) -> None:
    """A sink for each server that workers sent to."""
    known = {str(sink.options.get("url", "")).rstrip("/") for sink in _of_type(given.config, "batch")}
    for path, worker in workers:
        url = (worker.url or "").rstrip("/")
        if not url or plan.attempt(lambda path=path, url=url: _checked(url, f"base_url in {path}")) is None:  # type: ignore[misc]
            continue
        if url in known:
            continue
        known.add(url)
        table: dict[str, Any] = {"name": _free_name(plan, given, SERVER), "type": "batch", "url": url}
        if worker.token:
            table |= _token(plan, worker.token, f"worker_token in {path}", f"{table['name']}.token", given)
        if worker.batch_size and worker.batch_size > 0:
            table["conversations"] = worker.batch_size
        plan.sinks.append(table if backfill else {**table, "backfill": False})


def _plan_interval(plan: Plan, env: Mapping[str, str], workers: list[tuple[Path, Worker]], given: Given) -> None:
    """The sweep's interval, unless the new configuration has one of its own."""
    said = env.get("MEMOBASE_SYNC_INTERVAL")
    seconds = plan.attempt(lambda: _number(said)) if said else None
    seconds = seconds or min((w.interval_seconds for _, w in workers if w.interval_seconds), default=None)
    default = SyncConfig().interval_seconds
    if seconds is not None and seconds != default == given.config.sync.interval_seconds:
        plan.interval_seconds = seconds


def _plan_turns(plan: Plan, old: OldFiles, env: Mapping[str, str], given: Given, memobase: str | None) -> None:
    """Count what the file of turns holds, and what of it the log does not."""
    if old.turns is None:
        return
    lines = _lines_delivered(plan, old.marks, given)
    others = [sink.name for sink in given.config.sinks] + [str(table["name"]) for table in plan.sinks]
    sink = memobase or (others[0] if len(others) == 1 else MEMOBASE)
    user = given.user or env.get("USER_ID") or default_user(given.environ)
    planned = PlannedTurns(
        str(old.turns), user, sink, lines, lines=0, turns=0, delivered=0, owed=0, unreadable=0, new=0
    )
    counted = plan.attempt(lambda: _counted(planned, given))
    if counted is None:
        return
    plan.turns = counted
    plan.found.append(
        Found(
            counted.path,
            f"{counted.turns} turns of {counted.user}: {counted.delivered} delivered to {counted.sink}, "
            f"{counted.owed} owed; {counted.unreadable} unreadable",
        )
    )
    if sink not in (memobase, *others):
        plan.left_alone.append(
            f"no address of Memobase was found, so nothing is owed until a sink is configured; named {sink!r}, it is "
            "known to have what was delivered"
        )


def _lines_delivered(plan: Plan, marks: tuple[Path, ...], given: Given) -> int:
    said = {path: lines_delivered(path) for path in marks}
    for path, lines in said.items():
        plan.found.append(Found(str(path), f"{lines} lines were delivered" if lines is not None else "not understood"))
    if given.delivered_lines is not None:
        return given.delivered_lines
    if len(set(said.values())) > 1 or None in said.values():
        names = " and ".join(map(str, said))
        plan.problems.append(
            f"how many lines were delivered is not clear from {names}; say it with --delivered-lines (0: only those "
            'that are marked "synced": true)'
        )
    return next((lines for lines in said.values() if lines is not None), 0)


def _counted(planned: PlannedTurns, given: Given) -> PlannedTurns:
    """The same with its counts. Raises WrongUsage if the file cannot be read, ConfigError if its mark is another's."""
    source = save_data(planned, given.timezone)
    streams = source.discover([Path(planned.path)])
    lines = turns = delivered = unreadable = 0
    for stream in streams:
        for chunk in source.read(stream):
            lines = chunk.cursor["lines"]
            turns += len(chunk.turns)
            delivered += sum(bool(turn.delivered_to) for turn in chunk.turns)
            unreadable += len(chunk.unreadable)
    with TurnRecorder(given.directory, dry_run=True) as recorder:
        new: ImportCounts = import_streams(recorder, source, streams)
    if given.delivered_lines is None and turns and planned.lines_delivered > lines:
        raise ConfigError(
            f"{planned.lines_delivered} lines were delivered, and {planned.path} has {lines}: if it was begun "
            "anew since, say with --delivered-lines how many of these"
        )
    return structs.replace(
        planned,
        lines=lines,
        turns=turns,
        delivered=delivered,
        owed=turns - delivered,
        unreadable=unreadable,
        new=new.recorded,
    )


def _leave_alone(plan: Plan, old: OldFiles, env: Mapping[str, str]) -> None:
    """Say what was seen and is not touched, and what to do about it."""
    plan.left_alone += [f"{path}: calendars are not taken over yet" for path in old.calendars if is_calendar(path)]
    plan.left_alone += [
        f"{path} is not imported, because it may be a copy; if it is not: "
        f"`turnlog import save-data {shlex.quote(str(path))} --conversation NAME`"
        for path in old.other_turns
    ]
    plan.left_alone += [f"{path}: only the .env beside the scripts is read" for path in old.other_envs]
    if any(name in env for name in _MAIL_NAMES):
        plan.left_alone.append(f"{old.env}: {' and '.join(_MAIL_NAMES)} stay there; docs/coming-from.md says what for")
    if env.get("USER_ID"):
        plan.left_alone.append(
            f"{old.env}: set USER_ID for the programs that record, too; it says whose turns they are"
        )


def _of_type(config: Config, kind: str) -> list[SinkConfig]:
    return [sink for sink in config.sinks if sink.type == kind]


def _free_name(plan: Plan, given: Given, wanted: str) -> str:
    taken = {*(sink.name for sink in given.config.sinks), *(table["name"] for table in plan.sinks)}
    names = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _checked(url: str, name: str) -> str:
    try:
        check_url(url)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    return url


def _token(plan: Plan, value: str, name: str, file: str, given: Given) -> dict[str, dict[str, str]]:
    """What the configuration says of a token: the variable that the old one named, or a file of its own."""
    reference = _REFERENCE.fullmatch(value)
    if reference:
        return {"token": {"env": reference[1]}}
    if not (value.isascii() and value.isprintable()):
        plan.problems.append(f"{name} must be one line of plain ASCII characters; mend it")
    path = given.config_path.parent / file
    held = plan.attempt(lambda: _content(path))
    if held is None:
        plan.secrets.append(NewSecret(path, value))
    elif held.strip() != value.strip():
        plan.problems.append(f"{path} holds another secret than {name}; move one of them away")
    return {"token": {"file": file}}


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is in the way: {getattr(error, 'strerror', None) or 'it is no text'}") from error


def _number(said: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= WAIT_SECONDS_MAX:
        raise ConfigError(f"MEMOBASE_SYNC_INTERVAL must be a number of seconds, not {said!r}")
    return seconds
