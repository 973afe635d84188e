"""Sources by the name that events and the command line have for them."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from turnlog.config import ImportLimits
from turnlog.convert import nearest
from turnlog.errors import WrongUsage
from turnlog.sources.archives import Archive, is_archive
from turnlog.sources.base import Source, SourceOptions
from turnlog.sources.files import open_regular, path_text, refusal
from turnlog.sources.packed import unpacked

SOURCE_TYPES = {
    "chatgpt": "turnlog.sources.chatgpt:ChatGpt",
    "claude": "turnlog.sources.claude_export:ClaudeExport",
    "claude_code": "turnlog.sources.claude_code:ClaudeCode",
    "gemini_cli": "turnlog.sources.gemini_cli:GeminiCli",
    "gemini": "turnlog.sources.gemini_takeout:Gemini",
    "codex": "turnlog.sources.codex:Codex",
    "save_data": "turnlog.sources.save_data:SaveData",
}
"""The class of each, as `module:name`, in the order in which a file is shown to them to be recognised."""


def source_type(name: str) -> type[Source]:
    """The class of a source; dashes are taken for underscores. Raises WrongUsage for a name that is none."""
    known = name.replace("-", "_")
    if known not in SOURCE_TYPES:
        raise WrongUsage(f"unknown source {name!r}{nearest(known, [*SOURCE_TYPES, 'auto'])}")
    module, _, kind = SOURCE_TYPES[known].partition(":")
    found: type[Source] = getattr(import_module(module), kind)
    return found


def recognise(
    paths: Iterable[Path],
    options: SourceOptions = SourceOptions(),  # noqa: B008 - frozen
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Which source each file is of, by its structure, and those that are of none; folders are searched through.

    Links in folders are not followed: what is not in a folder is not taken for being in it.
    """
    known: dict[str, list[Path]] = {}
    unknown: list[Path] = []
    sources = [source_type(name).from_options(options) for name in SOURCE_TYPES]
    for path in _files(paths):
        name = next((source.name for source in sources if source.recognises(path)), None)
        if name is None:
            unknown.append(path)
        else:
            known.setdefault(name, []).append(path)
    return known, unknown


def why_unknown(path: Path, limits: ImportLimits) -> str:
    """The sentence for a file that no source recognises: it cannot be looked into, or is of another program."""
    try:
        with open_regular(path) as file:
            if is_archive(file):
                Archive(path, limits).close()
            else:
                unpacked(path, file)
    except WrongUsage as error:
        return f"{error}; it is left out"
    except OSError as error:
        return f"{refusal(path, error)}; it is left out"
    return f"{path_text(path)} is of no format that is known, so it is left out"


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        else:
            yield path
