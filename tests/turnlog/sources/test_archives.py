import io
import struct
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.archives import Archive
from turnlog.sources.objects import CannotRead

from .export_samples import zipped


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.zip"


def refusal(path: Path, limits: ImportLimits | None = None) -> str:
    with pytest.raises(WrongUsage) as caught:
        Archive(path, limits or ImportLimits())
    return str(caught.value)


def names(path: Path, limits: ImportLimits | None = None) -> list[str]:
    with closing(Archive(path, limits or ImportLimits())) as archive:
        return [member.name for member in archive.members]


def nested(levels: int) -> bytes:
    content = zipped({"file": "x"})
    for _ in range(levels):
        content = zipped({"in.zip": content})
    return content


def test_files_are_listed_and_read(path: Path) -> None:
    """Also those of zips in zips, under their names; folders and links are none."""
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    path.write_bytes(zipped({"a/b.txt": "one", "in.ZIP": zipped({"c.txt": "two"}), "d/": ""}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with closing(Archive(path, ImportLimits())) as opened:
        read = {member.name: member.open().read() for member in opened.members}
        assert read == {"a/b.txt": b"one", "in.ZIP/c.txt": b"two"}
        assert [member.size_bytes for member in opened.members] == [3, 3]
        assert 0 < sum(member.packed_bytes for member in opened.members) <= path.stat().st_size


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_all_methods_are_read(path: Path, method: int) -> None:
    """All that Python's zipfile knows; one that it does not know is told when it is read."""
    path.write_bytes(zipped({"file": "x" * 1000}, method))
    with closing(Archive(path, ImportLimits())) as archive:
        assert archive.members[0].open().read(5) == b"xxxxx"


def test_a_method_that_nobody_knows_is_told(path: Path) -> None:
    """By one sentence, when the file is read."""
    content = bytearray(zipped({"file": "x"}, zipfile.ZIP_STORED))
    for start in (8, content.index(b"PK\1\2") + 10):
        content[start : start + 2] = struct.pack("<H", 9)
    path.write_bytes(content)
    with closing(Archive(path, ImportLimits())) as archive, pytest.raises(CannotRead, match="compression"):
        archive.members[0].open().read()


def test_an_encrypted_file_is_told(path: Path) -> None:
    """It says what to do; the others are read."""
    content = bytearray(zipped({"secret": "x", "open": "y"}))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with closing(Archive(path, ImportLimits())) as archive:
        secret, other = archive.members
        with pytest.raises(CannotRead, match="it is encrypted; unpack it with its password"):
            secret.open().read()
        assert other.open().read() == b"y"


def test_what_is_no_whole_zip_is_refused(path: Path) -> None:
    """By one sentence: one cut short, one overwritten, an empty file, none at all."""
    whole = zipped({"file": "x" * 1000})
    for content in (whole[:-30], whole[:50], b"PK\3\4" + b"\0" * 100, b""):
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} is no whole zip file: ")
        assert refusal(path).endswith("; get it anew and try again")
        assert "\n" not in refusal(path)
    path.unlink()
    assert refusal(path) == f"{path} cannot be read: No such file or directory"


def test_a_damaged_file_in_a_zip_is_told(path: Path) -> None:
    """By what checks it; what is read before is right."""
    content = bytearray(zipped({"file": "x" * 100}, zipfile.ZIP_STORED))
    content[content.index(b"xxx") + 50] = 0
    path.write_bytes(content)
    with closing(Archive(path, ImportLimits())) as archive, pytest.raises(CannotRead, match="Bad CRC-32"):
        archive.members[0].open().read()


def test_names_are_never_paths(path: Path, tmp_path: Path) -> None:
    """Names that lead out of a folder only name what is read; nothing is written."""
    path.write_bytes(zipped({"../../evil": "x", "/etc/evil": "y", "a\\..\\evil": "z"}))
    assert len(names(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_zips_in_zips_are_opened_so_deep(path: Path) -> None:
    """Deeper ones, and those that are none, are files that are told about."""
    path.write_bytes(nested(2))
    assert names(path) == ["in.zip/in.zip/file"]
    path.write_bytes(nested(3))
    with closing(Archive(path, ImportLimits())) as archive:
        assert [member.name for member in archive.members] == ["in.zip/in.zip/in.zip"]
        assert [*archive.problems[0]] == ["in.zip/in.zip/in.zip", "it is a zip in a zip, more than 2 deep"]
    path.write_bytes(zipped({"broken.zip": "no zip"}))
    with closing(Archive(path, ImportLimits())) as archive:
        assert [problem.name for problem in archive.problems] == ["broken.zip"]
        assert archive.members[0].open().read() == b"no zip"


def test_bombs_are_refused_before_they_are_read(path: Path) -> None:
    """Too high a ratio, of one file, of a zip in a zip, of entries that overlap; too many files, too many bytes."""
    bomb = zipped({"zeros": bytes(20 * 2**20)})
    ratio = f"{path} would unpack to more than 200 times its size, as zip bombs do; "
    for content in (bomb, zipped({"in.zip": bomb}), overlapping(1500)):
        path.write_bytes(content)
        assert refusal(path) == ratio + "if you trust it, raise ratio_max in [import]"
    path.write_bytes(zipped({f"in{n}.zip": zipped({"file": "x" * 100}) for n in range(3)}))
    for limits, sentence in (
        (ImportLimits(entries_max=5), "holds more than 5 files; entries_max"),
        (ImportLimits(entry_bytes_max=99), "holds a file of more than 99 bytes; entry_bytes_max"),
        (ImportLimits(total_bytes_max=300), "would unpack to more than 300 bytes; total_bytes_max"),
    ):
        assert refusal(path, limits) == f"{path} {sentence} in [import] says how many it may be"
    assert len(names(path, ImportLimits(entries_max=6))) == 3
    path.write_bytes(bomb)
    assert names(path, ImportLimits(ratio_max=2000)) == ["zeros"]


def overlapping(count: int) -> bytes:
    """A zip whose entries are all the same bytes, as a better zip bomb's are."""
    content = zipped({"file": b"0123456789abcdef" * 4096}, zipfile.ZIP_STORED)
    start = content.index(b"PK\1\2")
    entry, end = content[start : content.index(b"PK\5\6")], content[content.index(b"PK\5\6") :]
    directory = entry * count
    sizes = struct.pack("<HHII", count, count, len(directory), start)
    return content[:start] + directory + end[:8] + sizes + end[20:]


@given(st.binary(max_size=30), st.integers(0, 400), st.booleans())
@example(b"\x01", 29, False)
@example(b"\x01", 29, True)
def test_no_damage_is_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, replace: bool) -> None:
    """Whatever bytes are put into a zip, or in place of others, it is refused, or its files are read or told about."""
    content = zipped({"a": "x" * 50, "b.zip": zipped({"c": "y"})})
    path = tmp_path_factory.getbasetemp() / "fuzzed.zip"
    path.write_bytes(content[:at] + data + content[at + (len(data) if replace else 0) :])
    try:
        archive = Archive(path, ImportLimits())
    except WrongUsage as error:
        assert "\n" not in str(error)
        return
    with closing(archive):
        for member in archive.members:
            try:
                io.BytesIO(member.open().read(1000))
            except CannotRead as error:
                assert str(error)
