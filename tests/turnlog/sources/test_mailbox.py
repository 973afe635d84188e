"""A mailbox on a real IMAP server: what is announced and attached is found, and nothing in it changes."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventlog import LineQuarantined, NoticeRaised, SourceAdvanced, TurnRecorded
from turnlog import Recorder
from turnlog.clock import SystemClock
from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef
from turnlog.sources import mailbox_feed
from turnlog.sources.base import SourceOptions
from turnlog.sources.mailbox import Mailbox, MailboxOptions
from turnlog.sources.mailbox_feed import MailboxFeed, record_parcel
from turnlog.sources.mailbox_server import MailboxFailed, Place
from turnlog.sources.watching import Watcher, fetching

from .export_samples import as_bytes, claude_talk, talk, zipped
from .post_office import DEADLINE_SECONDS, HOST, LINK, PASSWORD, READY, USER, PostOffice, mail, post_office

DAY = timedelta(days=1)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[PostOffice]:
    with post_office(tmp_path) as running:
        yield running


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "data", durability="os") as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)


def mailbox(office: PostOffice, **options: Any) -> Mailbox:
    given = {"host": HOST, "user": USER, "port": office.port, "ca_file": str(office.ca_file), **options}
    given.setdefault("password", SecretRef(env="MAIL_PASSWORD"))
    return Mailbox(MailboxOptions(**given), SourceOptions("amy"), folder=Path(), clock=SystemClock())


def read(recorder: Recorder, box: Mailbox, cursor: Any = None) -> Any:
    """Take in what there is; returns the cursor behind it."""
    with box.open() as session:
        for parcel in box.read(session, cursor):
            record_parcel(recorder, box, parcel, lambda _: None)
            cursor = parcel.chunk.cursor
    return cursor


def events(recorder: Recorder, kind: type[Any]) -> list[Any]:
    return [entry.event for entry in recorder.log.read() if isinstance(entry.event, kind)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_an_announcement_is_a_notice_once(office: PostOffice, recorder: Recorder) -> None:
    """With the link, and the time when it is void; mails of others are passed over."""
    received_at = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
    office.deliver(mail("friend@example.org", "Your data export is ready", name="<2@x>"), mail(), at=received_at)
    box = mailbox(office)
    cursor = read(recorder, box)
    read(recorder, box)
    read(recorder, box, cursor)
    (notice,) = events(recorder, NoticeRaised)
    assert (notice.source, notice.kind, notice.program) == ("mailbox", "export_ready", "chatgpt")
    assert (notice.notice, notice.title, notice.link) == ("<1@tm.openai.com>", READY, LINK)
    assert (notice.raised_at, notice.expires_at) == (received_at, received_at + DAY)
    assert {event.stream for event in events(recorder, SourceAdvanced)} == {box.stream}
    assert box.stream == f"imap://amy%40example.com@localhost:{office.port}/INBOX"


def test_reading_changes_nothing(office: PostOffice, recorder: Recorder) -> None:
    """Not even whether a mail was seen."""
    office.deliver(mail(), mail(USER, "mine", files={"a.zip": b"PK"}, name="<2@x>"), mail("x@example.org", "other"))
    before = office.flags()
    assert read(recorder, mailbox(office))["uid"] >= 3
    assert office.flags() == before
    assert not any(b"\\Seen" in flags for flags in before.values())


def test_only_what_is_new_is_looked_at(office: PostOffice, recorder: Recorder) -> None:
    """From the cursor on; the first time, what is not older than some days."""
    office.deliver(mail(name="<old@x>"), at=datetime.now(UTC) - 40 * DAY)
    office.deliver(mail(name="<new@x>"))
    box = mailbox(office)
    cursor = read(recorder, box)
    assert [notice.notice for notice in events(recorder, NoticeRaised)] == ["<new@x>"]
    office.deliver(mail(name="<newer@x>"))
    with box.open() as session:
        parcels = list(box.read(session, cursor))
    assert [note.notice for parcel in parcels for note in parcel.chunk.notes] == ["<newer@x>"]
    assert parcels[-1].chunk.cursor["uid"] == cursor["uid"] + 1


def test_a_folder_that_was_made_anew_is_read_anew(office: PostOffice, recorder: Recorder) -> None:
    """Its numbers mean nothing under another UIDVALIDITY; what was raised is not raised again."""
    box = mailbox(office, folder="AI/数据")
    with office.client() as client:
        client.create_folder("AI/数据")
        for raw in (mail(), mail("a@example.org", name="<a@x>"), mail("b@example.org", name="<b@x>")):
            client.append("AI/数据", raw)
    cursor = read(recorder, box)
    with office.client() as client:
        client.delete_folder("AI/数据")
        client.create_folder("AI/数据")
        client.append("AI/数据", mail())
        client.append("AI/数据", mail(name="<2@x>"))
    assert read(recorder, box, cursor)["validity"] != cursor["validity"]
    assert [notice.notice for notice in events(recorder, NoticeRaised)] == ["<1@tm.openai.com>", "<2@x>"]


def test_attached_exports_are_taken_in(office: PostOffice, recorder: Recorder) -> None:
    """Zip or not, of any program, from the mailbox's own address; once, and whatever they are called."""
    chats = as_bytes([talk(1)])
    files = {
        "../../evil.zip": zipped({"conversations.json": chats}),
        "photo.jpg": b"\xff\xd8",
        "notes.zip": zipped({"a": "b"}),
    }
    office.deliver(mail(USER, "my exports", files=files, results=None, name="<2@x>"))
    office.deliver(mail(USER, "more", files={"c.json": as_bytes([claude_talk(1)])}, results=None, name="<3@x>"))
    read(recorder, mailbox(office))
    turns = events(recorder, TurnRecorded)
    assert {turn.source: turn.user for turn in turns} == {"chatgpt": "amy", "claude": "amy"}
    assert len(turns) == 6
    streams = [event.stream for event in events(recorder, SourceAdvanced) if event.source != "mailbox"]
    assert streams == ["mail:<2@x>/../../evil.zip", "mail:<3@x>/c.json"]
    read(recorder, mailbox(office))
    assert len(events(recorder, TurnRecorded)) == 6
    assert not events(recorder, LineQuarantined)


@pytest.mark.parametrize(
    ("sender", "results", "taken"),
    [
        ("mallory@example.org", None, False),
        (USER, "mx.example.com; dmarc=fail header.from=example.com", False),
        (USER, "mx.example.com; spf=pass smtp.mailfrom=mallory@example.org", False),
        (USER, f"mx.example.com; auth=pass smtp.auth={USER}", True),
        ("OpenAI <noreply@tm.openai.com>", None, False),
        ("OpenAI <noreply@tm.openai.com>", "mx.example.com; dmarc=pass header.from=tm.openai.com", True),
        (f"{USER}, mallory@example.org", None, False),
    ],
)
def test_attached_exports_of_strangers_are_left(
    office: PostOffice, recorder: Recorder, sender: str, results: str | None, *, taken: bool
) -> None:
    """Nobody can put words into somebody's memory by mail."""
    office.deliver(mail(sender, "an export", files={"c.json": as_bytes([talk(1)])}, results=results))
    read(recorder, mailbox(office))
    assert bool(events(recorder, TurnRecorded)) == taken
    read(recorder, mailbox(office, attachments_from=()))
    assert bool(events(recorder, TurnRecorded)) == taken


def test_what_is_hostile_costs_itself_alone(office: PostOffice, recorder: Recorder) -> None:
    """Bombs, damage and mails that are too large are in quarantine, with the reason; what follows is read."""
    bomb = zipped({"conversations.json": b"[" + b" " * 64 * 1024 * 1024})
    torn = zipped({"conversations.json": as_bytes([talk(1)])})[:-9]
    office.deliver(
        mail(USER, "bomb", files={"bomb.zip": bomb}, name="<2@x>", results=None),
        mail(USER, "torn", files={"torn.zip": torn}, name="<3@x>", results=None),
        mail(USER, "large", text="x" * 300_000, name="<4@x>", results=None),
        b"From: " + USER.encode() + b"\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"From: noreply@tm.openai.com\r\nSubject: =?klingon?B?////?= data export is ready\r\n"
        b'Content-Type: multipart/mixed; boundary="\r\nMIME-Version: 9\r\n\r\n--\xff\xfe\r\n',
        mail(),
    )
    read(recorder, mailbox(office, message_bytes_max=200_000, attachments_from=(USER,)))
    reasons = [event.reason for event in events(recorder, LineQuarantined)]
    assert "200 times its size" in reasons[0]
    assert "is no whole zip file" in reasons[1]
    assert "message_bytes_max is 200000" in reasons[2]
    assert "its header has 65536 bytes" in reasons[3]
    assert [notice.notice for notice in events(recorder, NoticeRaised)][-1] == "<1@tm.openai.com>"
    assert not any("turnlog-" in reason for reason in reasons)


def test_starttls_and_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On port 143 TLS begins with STARTTLS, before the password is sent; who is not vouched for gets none."""
    with post_office(tmp_path, implicit=False) as office:
        monkeypatch.setattr("turnlog.sources.mailbox_server._STARTTLS_PORT", office.port)
        office.deliver(mail())
        with mailbox(office).open() as session:
            assert session.extent().next_uid > 1
        stranger = mailbox(office, ca_file=None)
        with pytest.raises(MailboxFailed, match="certificate is not to be trusted") as told, stranger.open():
            pass
        assert told.value.refused
        assert PASSWORD not in str(told.value)


def test_what_is_wrong_is_told_in_a_sentence(office: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password, the folder, the host, nobody there: each with the mailbox's name, none with the password."""

    def told(**options: Any) -> str:
        with pytest.raises(MailboxFailed) as failed, mailbox(office, **options).open() as session:
            session.extent()
        assert PASSWORD not in str(failed.value)
        assert "wrong horse" not in str(failed.value)
        return str(failed.value)

    assert "folder Archiv" in told(folder="Archiv")
    assert "cannot be reached" in told(port=9)
    assert "there is no host nowhere.invalid" in told(host="nowhere.invalid")
    monkeypatch.setenv("MAIL_PASSWORD", "wrong horse")
    assert "refuses the login" in told()
    monkeypatch.delenv("MAIL_PASSWORD")
    with pytest.raises(ConfigError, match="MAIL_PASSWORD"), mailbox(office).open():
        pass
    assert str(Place("h", 1, "u", "f")) == "the mailbox of u at h"


class Follower:
    """A watcher of one mailbox, and what it says."""

    def __init__(self, recorder: Recorder, box: Mailbox) -> None:
        self.recorder = recorder
        self.told: list[str] = []
        self.feed = MailboxFeed(box)
        self.watcher = Watcher(recorder, [], feeds=[self.feed], clock=SystemClock(), say=self.told.append)

    def until_noticed(self, *names: str) -> None:
        def looked() -> bool:
            self.watcher.look()
            return [notice.notice for notice in events(self.recorder, NoticeRaised)] == list(names)

        until(looked)


@pytest.mark.parametrize("idle", [True, False])
def test_a_mail_is_noticed_as_it_comes(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, *, idle: bool
) -> None:
    """By IDLE where the server offers it, by asking again where it does not; a broken connection is made anew."""
    monkeypatch.setattr(mailbox_feed, "RETRY_SECONDS", 0.02)
    with post_office(tmp_path, idle=idle) as office:
        box = mailbox(office, poll_seconds=600.0 if idle else 0.02)
        follower = Follower(recorder, box)
        with fetching([follower.feed], recorder, lambda: None):
            office.deliver(mail())
            follower.until_noticed("<1@tm.openai.com>")
            office.deliver(mail("a@example.org", name="<other@x>"), mail(name="<2@x>"))
            follower.until_noticed("<1@tm.openai.com>", "<2@x>")
            office.drop()
            office.deliver(mail(name="<3@x>"))
            follower.until_noticed("<1@tm.openai.com>", "<2@x>", "<3@x>")
        assert not follower.feed._thread.is_alive()
    assert any("can be read again" in sentence for sentence in follower.told)
    assert "an export of chatgpt can be downloaded for a while; `turnlog sources` shows where" in follower.told


def test_following_goes_on_where_it_was(office: PostOffice, recorder: Recorder) -> None:
    """From the cursor in the log; mails that do not matter move it in memory alone."""
    office.deliver(mail())
    first = Follower(recorder, mailbox(office))
    with fetching([first.feed], recorder, lambda: None):
        first.until_noticed("<1@tm.openai.com>")
        advanced = len(events(recorder, SourceAdvanced))
        office.deliver(*[mail("a@example.org", name=f"<{number}@o>") for number in range(3)])
        office.deliver(mail(name="<2@x>"))
        first.until_noticed("<1@tm.openai.com>", "<2@x>")
    assert len(events(recorder, SourceAdvanced)) == advanced + 1
    second = Follower(recorder, mailbox(office))
    second.feed.start(recorder, lambda: None)
    second.feed.close()
    assert second.feed._saved == events(recorder, SourceAdvanced)[-1].cursor


def test_a_refusal_is_said_once_and_not_repeated_quickly(
    office: PostOffice, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password, tried again and again, would lock the account."""
    monkeypatch.setenv("MAIL_PASSWORD", "wrong horse")
    follower = Follower(recorder, mailbox(office))
    with fetching([follower.feed], recorder, lambda: None):

        def said() -> bool:
            follower.watcher.look()
            return bool(follower.told)

        until(said)
        assert "refuses the login" in follower.told[0]
    assert office.connections == 1


def test_what_could_not_be_recorded_is_recorded_later(
    office: PostOffice, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs no notice."""
    office.deliver(mail())
    follower = Follower(recorder, mailbox(office))

    def full(*_: Any, **__: Any) -> Any:
        raise OSError("no space")

    with fetching([follower.feed], recorder, lambda: None):
        with monkeypatch.context() as broken:
            broken.setattr(mailbox_feed, "take_in", full)

            def failed() -> bool:
                try:
                    follower.watcher.look()
                except OSError:
                    return True
                return False

            until(failed)
        follower.until_noticed("<1@tm.openai.com>")
