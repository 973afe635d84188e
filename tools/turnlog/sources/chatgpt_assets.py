"""Files that ChatGPT's messages refer to: found in its export by the id that their names begin with.

A message names `file-service://file-ABC` or `sediment://file_000`; the export has `file-ABC-photo.png`,
`file_000-sanitized.jpg`, or `file-ABC.dat`, of which `conversation_asset_file_names.json` tells the name it had. They
may be in another zip than the conversations, or in any folder beside them.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.archives import Archive, Member, is_archive
from turnlog.sources.export_parts import Payloads, media_type_of
from turnlog.sources.files import open_regular
from turnlog.sources.objects import CannotRead
from turnlog.text import clean

ASSET_BYTES_MAX = 64 * 1024 * 1024
"""A larger asset is named and not kept: it would be in memory as a whole."""

_ID = re.compile(r"file[-_][0-9A-Za-z]+")
_NAMES = "conversation_asset_file_names.json"


class Found(NamedTuple):
    """An asset that is kept, and what it was called."""

    digest: str
    size_bytes: int
    name: str
    media_type: str | None


class _File(NamedTuple):
    name: str
    size_bytes: int
    read: Callable[[], bytes]


def asset_id(pointer: str) -> str:
    """The id in a pointer or a file's name; all of it if there is none."""
    found = _ID.search(pointer.rpartition("://")[2])
    return found[0] if found else pointer


class Assets:
    """The assets in some places, which are zips, folders, or files beside which assets may lie.

    Nothing is looked at before the first one is asked for. Close it at the end.
    """

    def __init__(self, places: Sequence[Path], limits: ImportLimits, payloads: Payloads) -> None:
        self._places = places
        self._limits = limits
        self._payloads = payloads
        self._stack = ExitStack()
        self._files: dict[str, _File] | None = None
        self._names: dict[str, str] = {}
        self._found: dict[str, Found | None] = {}

    def find(self, pointer: str) -> Found | None:
        """The asset that a pointer names, kept; None if it is not there, or is too large."""
        key = asset_id(pointer)
        if self._files is None:
            self._files = {}
            for place in dict.fromkeys(self._places):
                self._look_into(place)
        if key not in self._found:
            self._found[key] = self._keep(self._files[key]) if key in self._files else None
        return self._found[key]

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def _look_into(self, place: Path) -> None:
        for file in self._files_in(place):
            base = file.name.rsplit("/", 1)[-1]
            if base == _NAMES:
                self._names |= _names_in(file)
            elif (found := _ID.match(base)) and self._files is not None:
                self._files.setdefault(found[0], file)

    def _files_in(self, place: Path) -> Iterator[_File]:
        try:
            if place.is_dir():
                yield from self._files_of_folder(place, zips_too=True)
                return
            with open_regular(place) as file:
                is_zip = is_archive(file)
            if is_zip:
                archive = self._stack.enter_context(closing(Archive(place, self._limits)))
                for member in archive.members:
                    yield _File(member.name, member.size_bytes, partial(_read_member, member))
            else:
                yield from self._files_of_folder(place.parent, zips_too=False)
        except (WrongUsage, OSError):
            return

    def _files_of_folder(self, folder: Path, *, zips_too: bool) -> Iterator[_File]:
        """Files in it that are named as assets are; links are not followed, and nobody looks for ever."""
        names = ((root, name) for root, _, names in os.walk(folder) for name in sorted(names))
        for root, name in islice(names, self._limits.entries_max):
            path = Path(root, name)
            is_zip = zips_too and name.lower().endswith(".zip")
            if not (is_zip or name == _NAMES or _ID.match(name)) or path.is_symlink() or not path.is_file():
                continue
            if is_zip:
                yield from self._files_in(path)
            else:
                yield _File(name, path.stat().st_size, partial(_read_file, path))

    def _keep(self, file: _File) -> Found | None:
        if file.size_bytes > ASSET_BYTES_MAX:
            return None
        try:
            raw = file.read()
        except (CannotRead, WrongUsage, OSError):
            return None
        base = file.name.rsplit("/", 1)[-1]
        name = self._names.get(base, base)
        kept = self._payloads.kept(raw, media_type_of(name))
        return Found(kept["digest"], len(raw), name, kept["media_type"])


def _names_in(file: _File) -> dict[str, str]:
    """What the export says that its assets were called."""
    try:
        names = json.loads(file.read())
    except (CannotRead, WrongUsage, OSError, ValueError, RecursionError):
        return {}
    names = clean(names)[0] if isinstance(names, dict) else {}
    return {key: name for key, name in names.items() if isinstance(name, str) and name}


def _read_member(member: Member) -> bytes:
    return member.open().read(ASSET_BYTES_MAX)


def _read_file(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(ASSET_BYTES_MAX)
