"""What tools gave that was too large for the transcript: files in the session's folder `tool-results/`.

They are named by the tool call (`toolu_....txt`), or in any other way, and then the call's result tells the name
("Full output saved to: .../tool-results/b1.txt"). Each is kept beside the log, and is a part of the result's message.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from eventlog import Message, Part, TurnRecorded
from turnlog.sources.base import Keep
from turnlog.sources.claude_code_agents import is_own_file
from turnlog.sources.export_parts import media_type_of
from turnlog.sources.files import open_regular, path_text

FOLDER = "tool-results"
OUTPUT_BYTES_MAX = 64 * 1024 * 1024
"""A larger one is named and not kept: it would be in memory as a whole."""

_OUTPUTS_MAX = 100_000
_NAMED = re.compile(rf"{FOLDER}[/\\]+([^\s/\\<>\"']+)")


class Outputs:
    """The outputs of one session, whose own file is `main`. Links are not followed."""

    def __init__(self, main: Path, keep: Keep) -> None:
        self._folder = main.with_suffix("") / FOLDER
        self._keep = keep
        self._paths: dict[str, Path] | None = None
        self._parts: dict[str, Part] = {}
        self._told: set[str] = set()

    def added_to(self, turn: TurnRecorded) -> TurnRecorded:
        """The turn with the outputs that its tools' results are of."""
        if not self._files():
            return turn
        messages = tuple(self._added_to(message) for message in turn.messages)
        return turn if messages == turn.messages else replace(turn, messages=messages)

    def untold(self) -> list[dict[str, object]]:
        """Those that no turn has told of so far, as a note names them."""
        names = [name for name in self._files() if name not in self._told]
        kept = [self._part(name) for name in names]
        return [{"name": part.name, "digest": part.digest, "size_bytes": part.size_bytes} for part in kept]

    def _added_to(self, message: Message) -> Message:
        found = {name: part.id for part in message.parts if part.type == "tool_result" for name in self._names(part)}
        if not found:
            return message
        self._told |= found.keys()
        return replace(message, parts=(*message.parts, *(replace(self._part(n), id=call) for n, call in found.items())))

    def _names(self, part: Part) -> Iterator[str]:
        """The outputs that a result is of."""
        files = self._files()
        mentioned = {name.rstrip(".,;:)") for name in _NAMED.findall(part.text or "")}
        yield from (name for name in files if name.partition(".")[0] == part.id or name in mentioned)

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            path = self._files()[name]
            with open_regular(path) as file:
                content = file.read(OUTPUT_BYTES_MAX + 1)
                size_bytes = file.seek(0, 2)
            digest = self._keep(content) if len(content) <= OUTPUT_BYTES_MAX else None
            shown = path_text(Path(FOLDER, name))
            media_type = media_type_of(shown)
            self._parts[name] = Part("output", name=shown, digest=digest, media_type=media_type, size_bytes=size_bytes)
        return self._parts[name]

    def _files(self) -> dict[str, Path]:
        if self._paths is None:
            is_there = self._folder.is_dir() and not self._folder.is_symlink()
            found = sorted(self._folder.iterdir())[:_OUTPUTS_MAX] if is_there else []
            self._paths = {path.name: path for path in found if is_own_file(path)}
        return self._paths
