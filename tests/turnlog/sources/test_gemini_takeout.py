"""Takeout's activity in Gemini Apps: both spellings, dates, drafts, zips, damage."""

import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import Part, TurnRecorded
from projections import content_digest
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.base import Source
from turnlog.sources.gemini_takeout import Gemini
from turnlog.sources.gemini_takeout_dates import read_date
from turnlog.sources.gemini_takeout_html import Rendered
from turnlog.sources.registry import recognise
from turnlog.testing.source_contract import SourceContract, ids_of, turns_of

from .gemini_samples import ROWS, cell, import_into, page, prompt_file, read, row, turns, unreadable_of, write

FOLDER = "Takeout/My Activity/Gemini Apps"
BERLIN = ZoneInfo("Europe/Berlin")


class TestJson(SourceContract):
    def make_source(self) -> Source:
        return Gemini(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        return [write(folder, "MyActivity.json", json.dumps(ROWS, indent=2))]


class TestHtml(TestJson):
    def write_sample(self, folder: Path) -> list[Path]:
        return [write(folder, "MyActivity.html", page(ROWS).replace("<br>", "<br>\n"))]


def of_json(folder: Path, *rows: Any) -> list[TurnRecorded]:
    return turns(Gemini(), write(folder, "MyActivity.json", json.dumps(rows)))


def of_html(folder: Path, *rows: dict[str, Any]) -> list[TurnRecorded]:
    return turns(Gemini(timezone=BERLIN), write(folder, "MyActivity.html", page(rows)))


def test_rows_are_these_turns_from_the_oldest_on(tmp_path: Path) -> None:
    """The sample, field by field; its ids never change, or everything is imported again."""
    canvas, plain, picture, used, drafts, newest = of_json(tmp_path, *ROWS)
    assert [message.role for message in canvas.messages] == ["system", "assistant"]
    assert canvas.messages[1].content == "```html\n<p>\n\n\n\nx\n```"
    assert (plain.conversation, plain.messages[0].content) == ("995a37b426489105", "no answer")
    assert picture.messages[0].content == ""
    assert picture.messages[0].parts == (
        Part(type="note", text="Attached 1 file."),
        Part(type="attachment", name="a.png", data={"url": "a-1f.png"}),
    )
    assert (used.messages[0].role, used.meta["action"]) == ("system", "Used")
    assert drafts.messages[0].content == "what\nis it?"
    assert drafts.messages[1].content == "First\n\nSecond 'draft'"
    assert drafts.meta["drafts"] == 2
    assert newest.turn_id == "gemini:d578a659536f051854356c0b938a495c"
    assert (newest.conversation, str(newest.started_at)) == ("activity-2026-08-02", "2026-08-02 20:01:30.412000+00:00")
    assert newest.messages[0].content == "and <b>then</b> & now?"
    assert newest.messages[1].content == "One & two\n\n- a"
    html = "<p>One &amp; <b>two</b></p>\n<ul><li>a</li></ul>"
    assert newest.messages[1].parts == (Part(type="html", text=html),)
    assert newest.meta["row"] == {"header": "Gemini Apps", "products": ["Gemini Apps"]}


def test_html_and_json_are_the_same_turns(tmp_path: Path) -> None:
    """Ids, conversations and content: whichever is imported first, the other adds nothing."""
    first, second = of_json(tmp_path, *ROWS), of_html(tmp_path, *ROWS)
    assert [turn.turn_id for turn in first] == [turn.turn_id for turn in second]
    assert [turn.conversation for turn in first] == [turn.conversation for turn in second]
    assert list(map(content_digest, first)) == list(map(content_digest, second))
    write(tmp_path, "MyActivity.json", json.dumps(ROWS))
    counts = import_into(tmp_path / "log", Gemini(), tmp_path)
    assert (counts.recorded, counts.revised, counts.unchanged) == (6, 0, 6)


words = st.text(st.sampled_from("ab é你&<>\"'\u00a0.")).map(str.strip)


@given(st.lists(st.tuples(words, words, st.integers(0, 3000)), min_size=1, max_size=4, unique_by=lambda each: each[2]))
def test_any_prompt_and_answer_is_the_same_in_both(tmp_path_factory: pytest.TempPathFactory, said: list[Any]) -> None:
    """Whatever stands in them, escaped as the two spellings do."""
    folder = tmp_path_factory.mktemp("takeout")
    escaped = [(prompt, answer.replace("&", "&amp;").replace("<", "&lt;"), second) for prompt, answer, second in said]
    rows = [row(f"Prompted {prompt}", second, [f"<p>{answer}</p>"]) for prompt, answer, second in escaped]
    first, second = of_json(folder, *rows), of_html(folder, *rows)
    assert list(map(content_digest, first)) == list(map(content_digest, second))
    assert [turn.turn_id for turn in first] == [turn.turn_id for turn in second]


def test_a_later_export_adds_what_is_new(tmp_path: Path) -> None:
    """Old rows are gone, newer ones there, one got its conversation's id: no turn twice, none moved."""
    path = write(tmp_path, "a/MyActivity.json", json.dumps(ROWS))
    import_into(tmp_path / "log", Gemini(), path)
    details = [{"name": "x", "url": "https://gemini.google.com/app/aaaaaaaaaaaaaaaa"}]
    later = [row("Prompted new", 99), {**ROWS[0], "details": details}, *ROWS[1:4]]
    counts = import_into(tmp_path / "log", Gemini(), write(tmp_path, "b/MyActivity.json", json.dumps(later)))
    assert (counts.recorded, counts.revised, counts.unchanged) == (1, 0, 4)


def test_rows_that_are_alike_are_told_apart_by_number(tmp_path: Path) -> None:
    """The same second and prompt twice are two turns, in both spellings the same two."""
    twice = [row("Prompted again", 1, ["<p>b</p>"]), row("Prompted again", 1, ["<p>a</p>"])]
    first, second = of_json(tmp_path, *twice), of_html(tmp_path, *twice)
    assert len({turn.turn_id for turn in first}) == 2
    assert [turn.turn_id for turn in first] == [turn.turn_id for turn in second]


def test_rows_that_stand_oldest_first_stay_so(tmp_path: Path) -> None:
    """Turns are in the order they were said in, whichever way the file has them."""
    assert of_json(tmp_path, *reversed(ROWS)) == of_json(tmp_path, *ROWS)


def test_other_products_are_not_taken(tmp_path: Path) -> None:
    """A page with all activity gives that in Gemini, and in Bard as it was called."""
    rows = [
        {**row("Searched for x", 2), "header": "Search", "products": ["Search"]},
        {**row("Asked y", 1), "header": "Bard"},
    ]
    assert [turn.messages[0].content for turn in of_json(tmp_path, *rows)] == ["y"]
    assert [turn.messages[0].content for turn in of_html(tmp_path, *rows)] == ["y"]


def test_other_languages_and_other_fields(tmp_path: Path) -> None:
    """A row with an answer is a prompt, whatever the verb; a description is an answer; files and fields are kept."""
    given = row(
        "Demandé : quoi ?", 1, attachedFiles=["a.pdf", "b.png"], imageFile="b.png", locationInfos=[{"name": "x"}]
    )
    bard = row("Asked z", 2, [], description="An answer.")
    first, second = of_json(tmp_path, bard, given)
    assert (first.messages[0].role, first.messages[0].content) == ("user", "Demandé : quoi ?")
    assert [part.name for part in first.messages[0].parts] == ["a.pdf", "b.png"]
    assert first.meta["row"]["locationInfos"] == [{"name": "x"}]
    assert second.messages[1].content == "An answer."


AT = datetime(2026, 8, 2, 20, 24, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Aug 2, 2026, 10:24:25\u202fPM CEST",
        "2 Aug 2026, 22:24:25 CEST",
        "02.08.2026, 22:24:25 MESZ",
        "2 août 2026, 22:24:25 CEST",
        "2 de ago. de 2026, 17:24:25 BRT",
        "2 ago 2026, 10:24:25 p. m. GMT+2",
        "2026/08/02 22:24:25 CEST",
        "2026年8月3日 04:24:25 CST",
        "Aug 2, 2026, 3:24:25\u202fPM CDT",
        "2026. 8. 3. 오전 5:24:25 KST",
        "2026/8/3 上午4:24:25 GMT+8",
        "2 авг. 2026 г., 23:24:25 MSK",
        "2 sie 2026, 22:24:25 CEST",
        "03/08/2026, 01:54:25 IST",
        "Aug 2, 2026, 8:24:25 PM UTC",
        "2026-08-02 20:24:25 Z",
    ],
)
def test_dates_of_many_languages_are_understood(text: str) -> None:
    """Each of these lines is the same moment."""
    assert read_date(text, None) == AT


@pytest.mark.parametrize(
    "text",
    ["", "hello", "10:24:25 PM CEST", "Aug 2, 2026", "Aug 2, 2026, 25:00:00 CEST", "Aug 2, 2026, 10:24:25", "x" * 9999,
     "It was Aug 2, 2026, 10:24:25 PM CEST", "Aug 2, 2026, 10:24:25 PM somewhere else", "Foo 2, 2026, 10:24:25 CEST"],
)  # fmt: skip
def test_other_lines_are_no_dates(text: str) -> None:
    """Neither what is incomplete nor what says more."""
    assert read_date(text, None) is None


def test_the_users_zone_decides_what_an_abbreviation_means() -> None:
    """CST is Shanghai's for who is there, IST Dublin's; in the hour that comes twice the name tells which."""
    assert read_date("Aug 3, 2026, 4:24:25 AM CST", ZoneInfo("Asia/Shanghai")) == AT
    assert read_date("Aug 2, 2026, 9:24:25 PM IST", ZoneInfo("Europe/Dublin")) == AT
    twice = [read_date(f"Oct 25, 2026, 2:30:00 AM {name}", BERLIN) for name in ("CEST", "CET")]
    assert [time.hour for time in twice if time] == [0, 1]


@settings(max_examples=30)
@given(st.text(), st.text(st.sampled_from("<>/abp \"'=&;\n!-[")))
def test_no_html_is_an_error(some: str, tags: str) -> None:
    """Any text is rendered, and rendering what came of it changes nothing."""
    for text in (some, tags, f"<p>{tags}</p>"):
        once = Rendered(text)
        assert Rendered(once.html).text == once.text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["<", "<a ", "<a b=", "<p>", "</p>", "<!--", "<!", "<?", "&", "<br>", " ", "<a href='", "<script>", "<pre>"],
)
def test_no_html_takes_long(piece: str) -> None:
    """A megabyte of what is hardest to read takes a moment: nothing in it is looked at again and again."""
    content = piece * (1_000_000 // len(piece))
    assert len(Rendered(content).text) <= len(content)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    """Both spellings and AI Studio's prompts in it; paths in it mean nothing; a folder of zips too."""
    members = {
        f"{FOLDER}/MyActivity.json": json.dumps(ROWS).encode(),
        f"../../{FOLDER}/MyActivity.html": page(ROWS).encode(),
        "Takeout/Drive/Google AI Studio/A cat v1.2": prompt_file(),
        "Takeout/archive_browser.html": b"<html></html>",
        "Takeout/photo.jpg": b"\xff\xd8",
    }
    path = zipped(tmp_path / "takeout-1.zip", members)
    assert recognise([tmp_path])[0] == {"gemini": [path]}
    found = turns(Gemini(), tmp_path)
    assert len({turn.turn_id for turn in found}) == 8
    assert "studio-A cat v1.2" in {turn.conversation for turn in found}
    assert [each.name for each in tmp_path.iterdir()] == ["takeout-1.zip"]


def test_a_zip_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    """Before anything of it is read, by a sentence that names the limit."""
    path = zipped(tmp_path / "x.zip", {"a.json": b"[" + b" " * 3_000_000 + b"]", "b.json": b"[]"})
    for limits, name in (
        (ImportLimits(entry_bytes_max=10), "entry_bytes_max"),
        (ImportLimits(total_bytes_max=10), "total_bytes_max"),
        (ImportLimits(entries_max=1), "entries_max"),
    ):
        with pytest.raises(WrongUsage, match=name):
            read(Gemini(limits=limits), path)


def test_a_member_that_lies_about_its_size_is_set_apart(tmp_path: Path) -> None:
    """It is unpacked as far as it says and no further."""
    path = zipped(tmp_path / "x.zip", {"a.json": json.dumps(ROWS).encode()})
    content, size = path.read_bytes(), len(json.dumps(ROWS)).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (9).to_bytes(4, "little")))
    assert len(unreadable_of(read(Gemini(), path))) == 1


def test_a_damaged_zip_is_set_apart(tmp_path: Path) -> None:
    """A torn one as a whole, a member with a wrong checksum alone."""
    path = zipped(tmp_path / "x.zip", {"a.json": json.dumps(ROWS).encode(), "b.json": json.dumps(ROWS).encode()})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(WrongUsage, match="is no whole zip file"):
        read(Gemini(), path)
    path.write_bytes(whole[:60] + b"\0\0\0\0" + whole[64:])
    chunks = read(Gemini(), path)
    assert len(turns_of(chunks)) == 6
    assert unreadable_of(chunks)[0].position == "a.json, byte 0"


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-40],
        lambda content: content.replace(b"no answer", b"no \xff"),
        lambda content: content.replace(b'"Prompted no answer"', b'"Prompted no \0\0\0'),
        lambda content: content.replace(b'"title": "Used an app"', b'"title": ["Used an app"]'),
        lambda content: content.replace(b"2026-08-02T20:00:50", b"yesterday"),
        lambda content: content.replace(b'"Used an app"', b"[" * 1000),
        lambda content: b"[junk" + content[1:],
    ],
)
def test_a_damaged_row_of_json_costs_itself(tmp_path: Path, damage: Damage) -> None:
    """A torn tail, bad UTF-8, NULs, wrong types, no time, deep nesting, junk: all other rows are read."""
    content = json.dumps(ROWS).encode()
    path = write(tmp_path, "MyActivity.json", content)
    whole = ids_of(read(Gemini(), path))
    path.write_bytes(damage(content))
    chunks = read(Gemini(), path)
    assert len(unreadable_of(chunks)) == 1
    assert set(ids_of(chunks)) <= set(whole)
    assert len(ids_of(chunks)) >= 5


EMPTY_CELL = b'<div class="outer-cell"><p class="mdl-typography--title">Gemini Apps</p></div>'


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-60],
        lambda content: content.replace(b"no&nbsp;", b"no \xff"),
        lambda content: content.replace(b"10:00:50", b"soon"),
        lambda content: content.replace(
            cell(ROWS[2]).encode(), b'<div class="outer-cell">mdl-typography--title">Gemini'
        ),
    ],
)
def test_a_damaged_cell_costs_itself(tmp_path: Path, damage: Damage) -> None:
    """A page that ends in the middle, bad UTF-8, no date, nothing in it: all other cells are read."""
    content = page(ROWS).encode().replace(b"no answer", b"no&nbsp;answer")
    path = write(tmp_path, "MyActivity.html", content)
    whole = ids_of(read(Gemini(), path))
    path.write_bytes(damage(content))
    chunks = read(Gemini(), path)
    assert (len(unreadable_of(chunks)), len(ids_of(chunks))) == (1, 5)
    assert set(ids_of(chunks)) < set(whole)


def test_many_rows_are_read_in_chunks(tmp_path: Path) -> None:
    """Also where rows lie across the blocks that are read, and so many that they fill several chunks."""
    rows = [row(f"Prompted {number}", number, ["<p>" + "x" * 3000]) for number in range(1200, 0, -1)]
    for name, content in (("a.json", json.dumps(rows)), ("b.html", page(rows))):
        chunks = read(Gemini(), write(tmp_path, name, content))
        assert [turn.messages[0].content for turn in turns_of(chunks)] == [str(number) for number in range(1, 1201)]
        assert len(chunks) >= 3
        assert [chunk.offset for chunk in chunks] == sorted(chunk.offset for chunk in chunks)


def test_a_file_that_is_written_to_is_refused(tmp_path: Path) -> None:
    """An export is imported when it is complete; the sentence says so."""
    rows = [row(f"Prompted {number}", number) for number in range(1200, 0, -1)]
    path = write(tmp_path, "MyActivity.json", json.dumps(rows))
    (stream,) = Gemini().discover([path])
    reading = Gemini().read(stream)
    next(reading)
    path.write_bytes(b"[]" * 9)
    with pytest.raises(WrongUsage, match="when it is complete"):
        list(reading)


def test_files_are_recognised_by_their_structure(tmp_path: Path) -> None:
    """Whatever they are called; activity in other products alone is none."""
    ours = [
        write(tmp_path, "a", json.dumps(ROWS)),
        write(tmp_path, "b", page(ROWS).replace("<style>", "<style>" + "p{}" * 50_000)),
        write(tmp_path, "c", prompt_file()),
    ]
    write(tmp_path, "d.json", json.dumps([{**ROWS[0], "header": "Search", "products": ["Search"]}]))
    write(tmp_path, "e.html", "<html>Gemini Apps</html>")
    zipped(tmp_path / "f.zip", {"conversations.json": b"[]"})
    assert recognise([tmp_path])[0] == {"gemini": ours}
    with pytest.raises(WrongUsage, match="no activity in Gemini"):
        Gemini().discover([write(tmp_path, "g", "text")])
