"""Where Claude Code keeps the transcripts of a session's sub-agents, and which tool call started each.

They stand beside the session's file as `agent-ID.jsonl` (to 2.1.1), or in the folder `SESSION/subagents/` (since), the
runs of workflows further down in it. There `agent-ID.meta.json` says of each which tool call it answers; before that,
the result of the call names the agent, or its prompt is the agent's first line.
"""

import os
import stat
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.claude_code_lines import Lines, Record
from turnlog.sources.claude_code_prompts import texts_of
from turnlog.sources.claude_code_records import Messages
from turnlog.sources.files import open_regular, path_text
from turnlog.sources.packed import ENDINGS, Unpacked, open_unpacked, plain_path

FOLDER = "subagents"
_META_ENDING = ".meta.json"
_TRANSCRIPTS = (".jsonl", *(f".jsonl{ending}" for ending in ENDINGS))
_META_BYTES_MAX = 64 * 1024


class AgentFile(NamedTuple):
    """A sub-agent's transcript; `name` is its path from the session's folder on."""

    name: str
    path: Path
    size_bytes: int
    agent_id: str
    call: str | None
    """The tool call that started it, as its .meta.json says."""

    prompt: str
    started: datetime | None
    about: dict[str, Any]
    """What its .meta.json says."""


class Beside(NamedTuple):
    """What stands in the folder of a session's file: sub-agents' files, and the names of folders."""

    agents: list[Path]
    folders: set[str]


class Agents:
    """Finds sub-agents' files; remembers which session a file beside others is of."""

    def __init__(self, limits: ImportLimits = ImportLimits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._sessions: dict[Path, str] = {}

    def session_file(self, path: Path) -> Path:
        """The session's own file if this one is of a sub-agent of it and the session's is there, else this one."""
        if FOLDER in path.parts[:-1]:
            depth = len(path.parts) - 2 - path.parts[:-1][::-1].index(FOLDER)
            folder = Path(*path.parts[:depth])
            main = folder.with_name(f"{folder.name}.jsonl")
        elif path.name.startswith("agent-"):
            session = self._session(path)
            main = path.with_name(f"{session}.jsonl") if session and Path(session).name == session else path
        else:
            return path
        return next((found for found in _forms(main) if is_own_file(found)), path)

    def open(self, path: Path) -> Unpacked:
        """A transcript, unpacked if it is compressed. Raises WrongUsage."""
        return open_unpacked(path, self._limits)

    def files(self, main: Path, session: str, messages: Messages) -> list[AgentFile]:
        """The sub-agents of the session whose file is `main`, uncompressed, in the order of their names."""
        folder = main.with_suffix("")
        found = [(path.relative_to(folder).as_posix(), path) for path in transcripts_in(folder / FOLDER)]
        if not main.name.startswith("agent-"):
            beside = _plain_first(path for path in main.parent.glob("agent-*") if is_transcript(path))
            found += [(path.name, path) for path in beside if self._session(path) == session]
        return [agent for name, path in found if (agent := self._agent(name, path, messages))]

    def _agent(self, name: str, path: Path, messages: Messages) -> AgentFile | None:
        try:
            size_bytes = path.stat().st_size
        except OSError:
            return None  # it is gone meanwhile
        first = self._first_record(path)
        return _agent_file(name, path, size_bytes, first.fields, messages) if first else None

    def _first_record(self, path: Path) -> Record | None:
        with self.open(path).file as file:
            return next((piece for piece in Lines(file).read() if isinstance(piece, Record)), None)

    def of(self, main: Path, beside: Beside) -> tuple[Path, ...]:
        """Every file that a session is read with: in its folder, or a sub-agent's beside it."""
        folders = [main.with_suffix("")] if main.stem in beside.folders else []
        own = [path for folder in folders for path in folder.rglob("*") if is_own_file(path)]
        for path in beside.agents:
            if path == main:
                continue
            session = self._session(path)
            if session == main.stem or not is_own_file(path.with_name(f"{session}.jsonl")):
                own += [path, *(each for each in (path.with_name(path.stem + _META_ENDING),) if is_own_file(each))]
        return tuple(sorted(own))

    def _session(self, path: Path) -> str:
        if path not in self._sessions:
            first = self._first_record(path)
            session = first.fields.get("sessionId") if first else None
            if not isinstance(session, str):
                return ""
            self._sessions[path] = session
        return self._sessions[path]


def transcripts_in(folder: Path) -> list[Path]:
    """The JSONL files in a folder and below, in order. Links are not followed. Raises WrongUsage for what is closed."""

    def refuse(error: OSError) -> None:
        if Path(error.filename or folder) != folder or folder.exists():
            raise WrongUsage(f"{path_text(Path(error.filename))} cannot be read: {error.strerror}") from error

    if folder.is_symlink():
        return []
    found = []
    for parent, _, names in os.walk(folder, onerror=refuse):
        here = Path(parent)
        found += [here / name for name in names if name.endswith(_TRANSCRIPTS)]
    return _plain_first(filter(is_own_file, found))


def is_transcript(path: Path) -> bool:
    """Whether a regular file stands there that is named as transcripts are, compressed or not."""
    return path.name.endswith(_TRANSCRIPTS) and is_own_file(path)


def beside_in(folder: Path) -> Beside:
    """What stands in a folder; in one that may not be listed, nothing."""
    agents = [path for path in folder.glob("agent-*.jsonl") if is_own_file(path)]
    try:
        with os.scandir(folder) as entries:
            return Beside(agents, {entry.name for entry in entries if entry.is_dir()})
    except OSError:
        return Beside(agents, set())


def _forms(path: Path) -> list[Path]:
    """How a transcript may lie there: as it is, or compressed."""
    return [path, *(path.with_name(path.name + ending) for ending in ENDINGS)]


def _plain_first(paths: Iterable[Path]) -> list[Path]:
    """Each transcript once, in order: where it lies beside its compressed copy, the plain one."""
    ordered = sorted(paths, key=attrgetter("parts"), reverse=True)  # which is their own order, and found faster
    return list({plain_path(path): path for path in ordered}.values())[::-1]


def is_own_file(path: Path) -> bool:
    """Whether a regular file stands there, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def transcript_of_meta(path: Path) -> Path:
    """The transcript that a .meta.json is about; any other path as it is."""
    if not path.name.endswith(_META_ENDING):
        return path
    return path.with_name(path.name.removesuffix(_META_ENDING) + ".jsonl")


def read_meta(path: Path) -> dict[str, Any]:
    """What a .meta.json says, empty if it is none."""
    try:
        with open_regular(path) as file:
            about = msgspec.json.decode(file.read(_META_BYTES_MAX))
    except (WrongUsage, msgspec.MsgspecError, ValueError, RecursionError, OSError):
        return {}
    return about if isinstance(about, dict) and isinstance(about.get("agentType"), str) else {}


def _agent_file(name: str, path: Path, size_bytes: int, fields: dict[str, Any], messages: Messages) -> AgentFile:
    """What a sub-agent's file is, by its first record."""
    plain = plain_path(path)
    agent_id, message = fields.get("agentId"), fields.get("message")
    about = read_meta(path.with_name(plain.stem + _META_ENDING))
    call = about.get("toolUseId")
    return AgentFile(
        name=name,
        path=path,
        size_bytes=size_bytes,
        agent_id=agent_id if isinstance(agent_id, str) else plain.stem.removeprefix("agent-"),
        call=call if isinstance(call, str) else None,
        prompt="\n".join(texts_of(message.get("content"))).strip() if isinstance(message, dict) else "",
        started=messages.time(fields),
        about=about,
    )
