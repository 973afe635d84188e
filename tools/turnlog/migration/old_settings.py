"""What the settings of an old setup say: variables, the workers' YAML, the mark of progress.

Nothing in here prints a value: there are secrets among them.
"""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

from msgspec import Struct

from turnlog.errors import ConfigError, TurnlogError

_BYTES_MAX = 1024 * 1024
_LINE_COUNT = re.compile(r"\s*([0-9]{1,18})\s*", re.ASCII)
_COUNT_NAMES = ("lines", "line", "last_line", "processed_lines", "processed", "imported", "synced", "count")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_CALENDAR = re.compile("calsync|caldav|calendar", re.IGNORECASE)


class Worker(Struct, frozen=True):
    """What one worker's `config.yaml` says; None for what it does not say."""

    url: str | None = None
    interval_seconds: float | None = None
    batch_size: int | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Worker({self.url!r}, ...)"


def read_env(path: Path) -> dict[str, str]:
    """The variables in a `.env` file that have a value, as they stand there. Raises ConfigError."""
    text = _text(path)
    try:
        from dotenv.parser import parse_stream
    except ImportError as error:
        raise _missing("python-dotenv", path) from error
    variables = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigError(f"{path}: line {binding.original.line} is no NAME=value; mend it, or make it a comment")
        if binding.key and binding.value:
            variables[binding.key] = binding.value
    return variables


def read_worker(path: Path) -> Worker | None:
    """What a worker's file says, None for a file of another program. Raises ConfigError."""
    text = _text(path)
    try:
        import yaml
    except ImportError as error:
        raise _missing("PyYAML", path) from error
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # its own text quotes the file
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise ConfigError(f"{path} is no valid YAML{where}; mend it or move it away") from error
    server, worker, security = (_section(data, name) for name in ("server", "worker", "security"))
    if not ("base_url" in server or "worker_token" in security or "check_interval" in worker):
        return None
    return Worker(
        url=_known(server, "base_url", str, path),
        interval_seconds=_seconds(worker.get("check_interval"), path),
        batch_size=_known(worker, "batch_size", int, path),
        token=_known(security, "worker_token", str, path),
    )


def is_calendar(path: Path) -> bool:
    """Whether a `config.json` is CalSync's: its folder or one of its names says so."""
    try:
        data = json.loads(_text(path))
    except (ConfigError, ValueError, RecursionError):
        data = {}
    names = [path.parent.name, *(data if isinstance(data, dict) else ())]
    return any(_CALENDAR.search(name) for name in names)


def lines_delivered(path: Path) -> int | None:
    """How many lines a mark of progress says that were delivered; None for what cannot be understood.

    A number alone is a number of lines. So is the one number that an object has under a name that speaks of lines or
    of turns; one that may count bytes (`offset`, `position`) is not.
    """
    try:
        text = _text(path)
    except ConfigError:
        return None
    if number := _LINE_COUNT.fullmatch(text):
        return int(number[1])
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    counts = [data[name] for name in _COUNT_NAMES if name in data] if isinstance(data, dict) else []
    return counts[0] if len(counts) == 1 and type(counts[0]) is int and counts[0] >= 0 else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not UTF-8; save it as UTF-8") from error
    if len(content) > _BYTES_MAX:
        raise ConfigError(f"{path} is larger than 1 MiB, so it is none of the old settings; move it away")
    return text


def _missing(package: str, path: Path) -> TurnlogError:
    return TurnlogError(f"reading {path} needs the package {package} (pip install 'turnlog[migrate]')")


def _section(data: Any, name: str) -> dict[Any, Any]:
    section = data.get(name) if isinstance(data, dict) else None
    return section if isinstance(section, dict) else {}


def _known(section: dict[Any, Any], name: str, kind: type, path: Path) -> Any:
    value = section.get(name)
    if value is None or value == "":
        return None
    if type(value) is not kind:
        raise ConfigError(f"{path}: {name} is no {'text' if kind is str else 'whole number'}; mend it or remove it")
    return value


def _seconds(value: Any, path: Path) -> float | None:
    """Seconds: a number, or a duration as Go writes it, such as `30s` or `1m30s`."""
    if value is None:
        return None
    if type(value) in (int, float) and value > 0:
        return float(value)
    text = str(value)
    if _DURATION.sub("", text) == "" and (seconds := sum(float(n) * _SECONDS[u] for n, u in _DURATION.findall(text))):
        return seconds
    raise ConfigError(f"{path}: check_interval is no number of seconds and no duration such as 30s; mend it")
