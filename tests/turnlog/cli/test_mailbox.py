"""`turnlog sources add mailbox` and what follows from it, with a real IMAP server and a real process."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import EventLog, NoticeRaised
from turnlog.doctor import sources
from turnlog.sources.mailbox_hosts import imap_host

from ..sources.export_samples import as_bytes, talk
from ..sources.post_office import HOST, LINK, PASSWORD, READY, USER, PostOffice, mail, post_office
from .support import DEADLINE_SECONDS, Cli

ADD = ("sources", "add", "mailbox", "--user", USER, "--password-ref", "env:MAIL_PASSWORD")


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostOffice]:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with post_office(tmp_path) as running:
        yield running


def add(cli: Cli, office: PostOffice) -> None:
    where = ("--host", HOST, "--port", str(office.port), "--ca-file", str(office.ca_file))
    assert cli(*ADD, *where).code == 0


def until_noticed(cli: Cli) -> None:
    """Follow the log until a notice is raised in it."""
    stop = threading.Event()
    timer = threading.Timer(DEADLINE_SECONDS, stop.set)
    timer.start()
    try:
        entries = EventLog.open(cli.directory, read_only=True).follow(stop=stop)
        assert any(isinstance(entry.event, NoticeRaised) for entry in entries)
    finally:
        timer.cancel()
        timer.join()


def test_a_mailbox_is_added_checked_watched_and_removed(cli: Cli, office: PostOffice, tmp_path: Path) -> None:
    """What is announced is shown with its link and what to do; the import of the export settles it."""
    add(cli, office)
    assert "is there already" in cli.refused(2, *ADD, "--host", HOST)
    text = (cli.directory / "turnlog.toml").read_text()
    assert 'password = {env = "MAIL_PASSWORD"}' in text
    assert PASSWORD not in text
    (row,) = cli.ok("sources", "check", "--json").objects
    assert (row["source"], row["streams"], row["problem"]) == ("mailbox", 1, None)
    office.deliver(mail())
    process = cli.start("watch", "mailbox")
    until_noticed(cli)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    assert "watching the mailbox of amy@example.com at localhost, folder INBOX" in err
    assert "an export of chatgpt can be downloaded" in err
    assert LINK not in err
    (source,) = cli.ok("sources", "--json").objects
    assert [(notice["title"], notice["link"]) for notice in source["notices"]] == [(READY, LINK)]
    shown = cli.ok("sources", "list").out
    assert LINK in shown
    assert "turnlog import auto PATH" in shown
    assert "in 23h" in shown
    export = tmp_path / "export.json"
    export.write_bytes(as_bytes([talk(1)]))
    cli.ok("import", "auto", str(export))
    assert LINK not in cli.ok("sources").out
    assert cli("sources", "remove", "mailbox", USER).code == 0
    assert "mailbox" not in (cli.directory / "turnlog.toml").read_text()


def test_the_old_workers_variables_are_a_mailbox(cli: Cli, office: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_EMAIL_USERNAME and OPENAI_EMAIL_PASSWORD, with the host that the address tells or a variable names."""
    monkeypatch.setenv("OPENAI_EMAIL_USERNAME", USER)
    assert "no source is configured" in cli.refused(2, "watch")
    monkeypatch.setenv("OPENAI_EMAIL_PASSWORD", PASSWORD)
    monkeypatch.setenv("OPENAI_EMAIL_HOST", "nowhere.invalid")
    result = cli("sources", "check", "--json")
    assert result.code == 1
    assert result.object["path"] == "imap://amy%40example.com@nowhere.invalid:993/INBOX"
    assert "no host nowhere.invalid" in result.object["problem"]
    add(cli, office)
    (row,) = cli.ok("sources", "check", "--json").objects
    assert HOST in row["path"]


def test_the_doctor_logs_in_to_a_mailbox(cli: Cli, office: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lets us in is well; one that refuses the password, or does not say a word in time, is told as such."""

    def told(name: str) -> list[tuple[str, str]]:
        lines = cli("doctor", "--json").objects
        return [(line["state"], line["sentence"]) for line in lines if line["name"] == name]

    add(cli, office)
    assert [state for state, _ in told("source mailbox") + told("secrets")] == ["ok", "ok"]
    monkeypatch.setenv("MAIL_PASSWORD", "wrong")
    ((state, sentence),) = told("source mailbox")
    assert (state, "refuses the login" in sentence, "wrong" in sentence) == ("fail", True, False)
    monkeypatch.delenv("MAIL_PASSWORD")
    assert cli("doctor").code == 78
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.1)
    with socket.create_server((HOST, 0)) as silent:
        text = (cli.directory / "turnlog.toml").read_text()
        (cli.directory / "turnlog.toml").write_text(text.replace(str(office.port), str(silent.getsockname()[1])))
        assert told("source mailbox") == [("fail", f"{HOST}: it could not be looked at within 0.1 s")]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("a@gmail.com", "imap.gmail.com"),
        ("a@Hotmail.com", "outlook.office365.com"),
        ("a@163.com", "imap.163.com"),
        ("a@me.com", "imap.mail.me.com"),
        ("a@mail.example.org", "imap.mail.example.org"),
    ],
)
def test_an_address_tells_its_server(address: str, host: str) -> None:
    """Of well-known providers; elsewhere it is a guess."""
    assert imap_host(address) == host


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "a mailbox needs --host"),
        (("--host", "h", "--password-ref", "hunter2"), "--password-ref is env:NAME or file:PATH"),
        (("--host", "h", "--port", "0"), "port must be from 1 to 65535"),
        (("/a/path", "--host", "h"), "has a --host and a --user, and no path such as '/a/path'"),
    ],
)
def test_what_is_no_mailbox_is_refused(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    """With a sentence, and nothing is written; what is for mailboxes is for no other source."""
    result = cli(*ADD, *arguments)
    assert result.code in (2, 78)
    assert sentence in result.sentence
    assert "hunter2" not in result.err
    assert "--host is for a mailbox alone" in cli.refused(2, "sources", "add", "claude_code", "--host", "h")
    assert not (cli.directory / "turnlog.toml").exists()


def test_a_mailbox_in_the_file_is_validated(cli: Cli) -> None:
    """A key that is unknown is named when the sources are asked for."""
    cli.directory.mkdir()
    table = {"type": "mailbox", "host": "h", "user": "u", "pasword": {"env": "X"}}
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if isinstance(value, str)]
    (cli.directory / "turnlog.toml").write_text("[[sources]]\n" + "\n".join(lines) + '\npasword = { env = "X" }\n')
    assert "did you mean 'password'" in cli.refused(78, "watch")


def test_a_password_that_is_missing_is_told_before_anything_starts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`turnlog config check` names the source and where its password was looked for, and ends 78."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    assert cli(*ADD, "--host", HOST).code == 0
    assert cli("config", "check").code == 0
    monkeypatch.delenv("MAIL_PASSWORD")
    sentence = cli.refused(78, "config", "check")
    assert "source 'mailbox': the secret in the environment variable MAIL_PASSWORD is missing or empty" in sentence
    assert sentence == cli.refused(78, "daemon", "start")
