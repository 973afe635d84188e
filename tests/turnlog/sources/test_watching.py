"""Watching: a turn is recorded when the next one begins, or when it has been quiet; growth is a revision."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import pytest

from eventlog import Message, Part, TurnRecorded
from turnlog import Recorder
from turnlog.sources.base import Chunk, Keep, SourceOptions, Stream, keep_nothing
from turnlog.sources.files import open_regular, path_text
from turnlog.sources.watching import SETTLE_SECONDS, TOOL_SECONDS, Watched, Watcher, look_once
from turnlog.testing import FakeClock


class Talk:
    """A format for tests: `>text` begins a turn, `?id` calls a tool, `!id` is its answer, other lines are answers."""

    name: ClassVar[str] = "talk"
    global_ids: ClassVar[bool] = False
    read_bytes = 0

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        return cls()

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.read_bytes().startswith(b">")

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        found = [path for given in paths for path in (sorted(given.glob("*.talk")) if given.is_dir() else [given])]
        return [Stream(path_text(path), path, path.stat().st_size) for path in found]

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        with open_regular(stream.path) as file:
            content = file.read()
        start = cursor["offset"] if cursor and content.startswith(cursor["prefix"].encode()) else 0
        Talk.read_bytes += len(content) - start
        turns, at, begins = [], start, start
        messages: list[Message] = []
        for line in content[start:].decode().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            if line.startswith(">"):
                turns += [_turn(stream, begins, messages)] if messages else []
                messages, begins = [Message("user", line[1:-1])], at
            elif line[0] in "?!":
                kind = "tool_call" if line[0] == "?" else "tool_result"
                messages.append(Message("tool", "", parts=(Part(kind, id=line[1:-1]),)))
            else:
                messages.append(Message("assistant", line[:-1]))
            at += len(line.encode())
        turns += [_turn(stream, begins, messages)] if messages else []
        prefix = content[:begins].decode()
        yield Chunk(tuple(turns), (), {"offset": begins, "prefix": prefix}, prefix[:10], at)


def _turn(stream: Stream, begins: int, messages: list[Message]) -> TurnRecorded:
    return TurnRecorded(
        turn_id=f"{stream.path.name}:{begins}", source="talk", conversation=stream.path.stem, messages=tuple(messages)
    )


class Desk:
    """A folder that is watched, a log, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "talks"
        self.folder.mkdir()
        self.clock = FakeClock()
        self.recorder = Recorder(folder / "data", durability="os")
        self.told: list[str] = []
        self.watcher = self.watch()

    def watch(self) -> Watcher:
        watched = [Watched(Talk(), (self.folder,))]
        return Watcher(self.recorder, watched, clock=self.clock, say=self.told.append)

    def write(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def look(self, seconds: float = 0) -> datetime:
        self.clock.advance(seconds)
        return self.watcher.look()

    def said(self) -> list[tuple[str, int, list[str]]]:
        """Each turn as it was recorded: the conversation, the revision, what was said."""
        events = (entry.event for entry in self.recorder.log.read())
        return [
            (event.conversation, event.revision, [message.content for message in event.messages])
            for event in events
            if isinstance(event, TurnRecorded)
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.recorder.close()


def test_a_turn_is_recorded_when_the_next_one_begins(desk: Desk) -> None:
    """At once; the next one is held back."""
    desk.write("a.talk", ">one\nyes\n")
    desk.look()
    assert desk.said() == []
    desk.write("a.talk", ">two\n")
    desk.look(1)
    assert desk.said() == [("a", 1, ["one", "yes"])]


def test_an_open_turn_is_recorded_when_it_has_been_quiet(desk: Desk) -> None:
    """Ten seconds after its last line, which is when the watcher asks to be called; later growth is a revision."""
    desk.write("a.talk", ">one\n")
    desk.look()
    desk.write("a.talk", "yes\n")
    again = desk.look(3)
    while desk.clock.now() < FakeClock().now() + timedelta(seconds=13):
        assert desk.said() == []
        again = desk.look((again - desk.clock.now()).total_seconds())
    assert desk.clock.now() == FakeClock().now() + timedelta(seconds=13)
    assert desk.said() == [("a", 1, ["one", "yes"])]
    desk.write("a.talk", "and more\n")
    desk.look(20)
    desk.look(11)
    assert desk.said()[1:] == [("a", 2, ["one", "yes", "and more"])]


def test_a_turn_is_held_while_a_tool_is_at_work(desk: Desk) -> None:
    """However quiet it is, for an hour: then the program was ended, most likely."""
    desk.write("a.talk", ">one\n?tool\n")
    desk.look()
    desk.look(600)
    assert desk.said() == []
    desk.write("a.talk", "!tool\n")
    desk.look(1)
    desk.look(11)
    assert len(desk.said()) == 1
    desk.write("b.talk", ">two\n?tool\n")
    desk.look()
    desk.look(TOOL_SECONDS)
    assert [name for name, _, _ in desk.said()] == ["a", "b"]


def test_what_has_not_changed_is_not_read_again(desk: Desk) -> None:
    """Nor is what was recorded of a file that grew."""
    desk.write("a.talk", ">" + "x" * 10_000 + "\n>two\n")
    desk.look()
    desk.look(20)
    Talk.read_bytes = 0
    for _ in range(10):
        desk.look(5)
    assert Talk.read_bytes == 0
    desk.write("a.talk", "more\n")
    desk.look(5)
    assert 0 < Talk.read_bytes < 100


def test_only_what_changed_is_looked_at(desk: Desk) -> None:
    """Until it is time to look at everything: what nobody told of is found then; what is elsewhere is nobody's."""
    desk.write("a.talk", ">one\nyes\n>two\n")
    desk.look()
    desk.write("a.talk", "no\n>three\n")
    desk.write("b.talk", ">other\nhm\n>more\n")
    (desk.folder / "notes").write_text("no talk")
    elsewhere = desk.folder.parent / "c.talk"
    elsewhere.write_text(">not watched\n>\n")
    due = desk.watcher.look({desk.folder / "a.talk", desk.folder / "notes", desk.folder / "gone.talk", elsewhere})
    assert [said for _, _, said in desk.said()] == [["one", "yes"], ["two", "no"]]
    assert desk.told == []
    desk.clock.advance((due - desk.clock.now()).total_seconds())
    desk.watcher.look(set())
    assert [said for _, _, said in desk.said()][2:] == [["other", "hm"]]


def test_what_was_held_of_a_stream_that_has_gone_is_waited_for_no_more(desk: Desk) -> None:
    """The watcher has nothing to do before the next look at everything, and is told of nothing."""
    desk.write("a.talk", ">one\n")
    desk.look()
    (desk.folder / "a.talk").unlink()
    assert desk.look(11) > desk.clock.now()
    assert desk.told == []


def test_a_restart_goes_on_where_the_log_says(desk: Desk) -> None:
    """Nothing is recorded twice, and what was held back is not forgotten."""
    desk.write("a.talk", ">one\n>two\n")
    desk.look()
    desk.watcher = desk.watch()
    desk.look(1)
    desk.look(11)
    assert [words for _, _, words in desk.said()] == [["one"], ["two"]]


@pytest.mark.parametrize("how", ["rename", "truncate", "rewrite", "replace"])
def test_whatever_becomes_of_the_file_no_turn_is_lost(desk: Desk, how: str) -> None:
    """Renamed, cut off, written over with as much or more: what is there is recorded, and what was there stays."""
    path = desk.folder / "a.talk"
    desk.write("a.talk", ">one\n>two\n>three\n")
    desk.look()
    desk.look(11)
    if how == "rename":
        path.rename(desk.folder / "b.talk")
    elif how == "truncate":
        path.write_text(">one\n")
    elif how == "rewrite":
        path.write_text(">ONE\n>TWO\n>THREE\n>four\n")
    else:
        (desk.folder / "new").write_text(">one\n>two\n>other\n")
        (desk.folder / "new").rename(path)
    desk.look(1)
    desk.look(11)
    words = [said for _, _, words in desk.said() for said in words]
    assert words[:3] == ["one", "two", "three"]
    wanted = {"rename": [], "truncate": [], "rewrite": ["ONE", "TWO", "THREE", "four"], "replace": ["other"]}[how]
    assert set(words[3:]) >= set(wanted)


def test_what_cannot_be_read_is_told_once_and_keeps_nothing_else(desk: Desk) -> None:
    """A file that is no file; the others go on."""
    (desk.folder / "bad.talk").mkdir()
    desk.write("good.talk", ">one\n>two\n")
    desk.look()
    desk.look(5)
    assert len(desk.told) == 1
    assert "bad.talk" in desk.told[0]
    assert [words for _, _, words in desk.said()] == [["one"]]


def test_folders_that_are_not_there_yet_may_come(tmp_path: Path, desk: Desk) -> None:
    """A program that was never run has none."""
    later = tmp_path / "later"
    desk.watcher = Watcher(desk.recorder, [Watched(Talk(), (later,))], clock=desk.clock, say=desk.told.append)
    desk.look()
    later.mkdir()
    (later / "a.talk").write_text(">one\n>two\n")
    desk.look(5)
    assert [words for _, _, words in desk.said()] == [["one"]]
    assert desk.told == []


def test_it_counts_what_it_took_in(desk: Desk) -> None:
    """As an import does."""
    desk.write("a.talk", ">one\n>two\n")
    desk.look()
    assert msgspec.to_builtins(desk.watcher.counts) == {
        "recorded": 1, "revised": 0, "unchanged": 0, "quarantined": 0,
    }  # fmt: skip


def test_what_is_dropped_is_read_when_it_is_complete(tmp_path: Path, desk: Desk) -> None:
    """Not while it grows, and only if it is recognised, whatever it is called; once."""
    drops = tmp_path / "Downloads"
    drops.mkdir()
    watched = [Watched(Talk(), (drops,), drops=True)]
    desk.watcher = Watcher(desk.recorder, watched, clock=desk.clock, say=desk.told.append)
    (drops / "export (1).zip").write_text(">one\n")
    (drops / "song.mp3").write_text("no talk")
    desk.look()
    (drops / "export (1).zip").write_text(">one\n>two\n>three\n")
    desk.look(1)
    assert desk.said() == []
    desk.look(5)
    desk.look(11)
    assert [words for _, _, words in desk.said()] == [["one"], ["two"], ["three"]]
    desk.look(20)
    assert len(desk.said()) == 3
    assert desk.told == []


def test_a_clock_that_is_set_back_holds_no_turn_for_longer(desk: Desk) -> None:
    """By a day, while a turn is quiet: it is recorded ten seconds later, not a day and ten seconds."""
    desk.write("a.talk", ">one\n")
    desk.look()
    assert desk.watcher.held_since == desk.clock.now()
    desk.look(-86_400)
    assert desk.said() == []
    desk.look(SETTLE_SECONDS)
    assert desk.said() == [("a", 1, ["one"])]
    assert desk.watcher.held_since is None


def test_a_look_that_gets_on_says_so(tmp_path: Path) -> None:
    """At every stream, and at every piece of one: a long first look is not taken for one that is stuck."""
    (tmp_path / "talks").mkdir()
    for name in "abc":
        (tmp_path / "talks" / f"{name}.talk").write_text(">one\n>two\n")
    beats: list[int] = []
    with Recorder(tmp_path / "data", durability="os") as recorder:
        watched = [Watched(Talk(), (tmp_path / "talks",))]
        Watcher(recorder, watched, clock=FakeClock(), beat=lambda: beats.append(1)).look()
    assert len(beats) >= 6


def test_one_look_takes_everything_and_nothing_twice(desk: Desk) -> None:
    """Also what may go on; for folders into which things are dropped, what the source recognises."""
    desk.write("a.talk", ">one\n>two\n")
    watched = Watched(Talk(), (desk.folder,))
    assert look_once(desk.recorder, watched).recorded == 2
    assert look_once(desk.recorder, watched).recorded == 0
    desk.write("b.talk", ">three\n")
    desk.write("c.talk", "no talk\n")
    dropped = Watched(Talk(), (desk.folder, desk.folder / "none"), drops=True)
    assert look_once(desk.recorder, dropped).recorded == 1
