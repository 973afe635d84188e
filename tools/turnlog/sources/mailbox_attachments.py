"""Exports that came in a mail, taken in as files are."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.archives import Archive, is_archive
from turnlog.sources.base import SourceOptions
from turnlog.sources.files import open_regular
from turnlog.sources.homes import DROPPED
from turnlog.sources.importing import ImportCounts, import_stream
from turnlog.sources.mailbox_letters import Attachment
from turnlog.sources.registry import source_type


def import_attached(
    recorder: TurnRecorder, attachments: Sequence[Attachment], options: SourceOptions
) -> tuple[ImportCounts, list[str]]:
    """Record what exports hold, told by their structure; other files are passed over.

    Returns the counts, and why a file could not be read, of those that cannot. What a file is called is its stream's
    name and never a path: it lies in a temporary folder under a number while it is read. Raises AppendFailed.
    """
    counts, problems = ImportCounts(), []
    for attachment in attachments:
        with TemporaryDirectory(prefix="turnlog-") as folder:
            path = Path(folder) / "attachment"
            try:
                path.write_bytes(attachment.content)
                counts.add(_import(recorder, attachment.name, path, options))
            except WrongUsage as error:
                problems.append(str(error).replace(str(path), attachment.name))
            except OSError as error:
                problems.append(f"{attachment.name} cannot be unpacked: {error.strerror}")
    return counts, problems


def _import(recorder: TurnRecorder, name: str, path: Path, options: SourceOptions) -> ImportCounts:
    counts = ImportCounts()
    known = (source_type(program).from_options(options) for program in DROPPED)
    source = next((source for source in known if source.recognises(path)), None)
    if source is None:
        _check(path, options.limits)
        return counts
    for stream in source.discover([path]):
        counts.add(import_stream(recorder, source, msgspec.structs.replace(stream, name=f"mail:{name}")))
    return counts


def _check(path: Path, limits: ImportLimits) -> None:
    """Raises WrongUsage for a zip that is damaged or beyond the limits: nobody could tell what is in it."""
    with open_regular(path) as file:
        is_zip = is_archive(file)
    if is_zip:
        Archive(path, limits).close()
