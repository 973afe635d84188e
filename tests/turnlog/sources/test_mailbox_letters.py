"""What a mail says is taken apart without trust: who sent it, where its links lead, what is attached."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.sources.mailbox_announcements import announcement, safe_host
from turnlog.sources.mailbox_letters import is_authentic, read_contents, read_envelope
from turnlog.sources.objects import CannotRead

from .post_office import LINK, PASSED, READY, USER, mail

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
OPENAI = "noreply@tm.openai.com"


def link_of(raw: bytes) -> str | None:
    """The link of the notice that a mail is; None if it is none."""
    notice = announcement(read_envelope(raw), read_contents(raw)[0], received_at=NOW)
    return notice.link if notice else None


@pytest.mark.parametrize(
    ("raw", "link"),
    [
        (mail(), LINK),
        (mail(results=None), LINK),
        (mail(html=None, text=f"Download your data:\n{LINK}.\n"), LINK),
        (mail(subject="您的数据导出已准备就绪"), LINK),
        (mail(subject="Your login code"), None),
        (mail("noreply@openai.com.evil.example", results=None), None),
        (mail("noreply@notopenai.com", results=None), None),
        (mail(f'"{OPENAI}" <mallory@example.org>', results=None), None),
        (mail(results="mx.example.com; dmarc=fail header.from=tm.openai.com"), None),
        (mail(results="mx.example.com; spf=pass smtp.mailfrom=evil.example"), None),
        (mail(html='<a href="https://evil.example/export">Download data export</a>', results=None), None),
        (mail(html='<a href="https://u1.ct.sendgrid.net/ls/click?upn=1">Download data export</a>'), ""),
        (mail(html='<a href="https://help.openai.com/articles/7260999-export">How to export</a>', results=None), None),
    ],
)
def test_an_announcement_is_told_by_sender_subject_and_link(raw: bytes, link: str | None) -> None:
    """Words alone make none; without a link of the program's own it must be proven to be the program's."""
    assert link_of(raw) == link


def test_claude_announces_too() -> None:
    """With hosts of its own: those of another program are not its."""
    told = {"sender": "Anthropic <no-reply@mail.anthropic.com>", "subject": "Your data is ready for download"}
    own = "https://claude.ai/export/1/download/2"
    assert link_of(mail(**told, html=f'<a href="{own}">Download</a>', results=None)) == own
    assert link_of(mail(**told, html=f'<a href="{LINK}">Download</a>', results=None)) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://chatgpt.com/export",
        "https://chatgpt.com@evil.example/export",
        "https://evil.example\\@chatgpt.com/export",
        "https://chatgpt.com:8443/export",
        "https://chatgpt.com\t.evil.example/export",
        "https://chatgpt\u3002com/export",
        "https://[::1/export",
        "javascript:alert(1)//chatgpt.com/export",
        "//chatgpt.com/export",
        "https://chatgpt.com/" + "x" * 5000,
        "",
    ],
)
def test_a_link_that_can_be_read_in_two_ways_is_none(url: str) -> None:
    """Of any other scheme, with a user, a port, an odd character, or endless."""
    assert safe_host(url) is None


@given(st.text())
def test_a_safe_host_is_a_plain_name(text: str) -> None:
    """Whatever is written: a host is plain characters, or there is none."""
    for url in (text, f"https://{text}", f"https://chatgpt.com{text}"):
        host = safe_host(url)
        assert host is None or set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([], None),
        ([PASSED], True),
        (["mx.example.com; dkim=pass (2048-bit key) header.i=@openai.com"], True),
        (["mx.example.com 1; none"], None),
        (["spf=pass (sender IP is 1.2.3.4) smtp.mailfrom=tm.openai.com; dmarc=pass header.from=tm.openai.com"], True),
        (["mx.example.com; dkim=pass header.d=evil.example"], False),
        (["mx.example.com; dkim=pass header.d=com"], False),
        (["mx.example.com; dmarc=fail header.from=tm.openai.com", PASSED], False),
        (["mx.example.com; spf=fail", "elsewhere.example; dmarc=pass header.from=tm.openai.com"], False),
        (["mx.example.com; spf=pass", PASSED], True),
        (['mx.example.com; spf=pass smtp.mailfrom="x; dmarc=pass header.from=tm.openai.com"@evil.example'], False),
        (["mx.example.com; spf=pass (x; dmarc=pass header.from=tm.openai.com (y)) smtp.mailfrom=evil.example"], False),
        ([f"mx.example.com; auth=pass smtp.auth={OPENAI}"], True),
        ([f"mx.example.com; auth=pass smtp.auth={USER}"], False),
    ],
)
def test_the_receiving_servers_word_counts(results: list[str], verdict: bool | None) -> None:
    """The topmost one's; what came with the mail, or stands in a comment or a quotation, is the sender's own."""
    assert is_authentic(OPENAI, results) is verdict


def test_two_senders_are_none() -> None:
    """A mail has one sender; a second From is how one is smuggled in."""
    raw = b"From: noreply@tm.openai.com\r\nFrom: mallory@example.org\r\n\r\n"
    assert read_envelope(raw).sender.address == ""
    assert read_envelope(mail(f"{OPENAI}, mallory@example.org")).sender.address == ""


def test_a_mail_without_a_usable_name_gets_one() -> None:
    """From its header, so that it is the same the next time."""
    raw = mail(name=None)
    name = read_envelope(raw).name
    assert read_envelope(raw).name == name != read_envelope(mail(name=None, subject="b")).name
    assert name.startswith("sha256:")
    assert read_envelope(b"Message-ID: <" + b"x" * 1000 + b">\r\n\r\n").name.startswith("sha256:")


def test_titles_are_plain() -> None:
    """One line of characters that can be printed."""
    assert read_envelope(b"Subject: =?utf-8?b?YQpiGzJKYw==?=\r\n\r\n").subject == "a b2Jc"
    assert read_envelope(mail()).subject == READY


SAMPLE = mail(files={"a.zip": b"PK\x03\x04", "b.json": b"[]"})


@given(st.integers(0, len(SAMPLE)), st.binary(max_size=40), st.integers(0, 60))
def test_damage_is_one_refusal_at_most(position: int, inserted: bytes, removed: int) -> None:
    """Whatever stands in a mail: it is taken apart, or refused as such."""
    raw = SAMPLE[:position] + inserted + SAMPLE[position + removed :]
    for look in (read_envelope, read_contents, link_of):
        try:
            look(raw)
        except CannotRead as error:
            assert "taken apart" in str(error)


@given(st.binary(max_size=300))
def test_noise_is_no_announcement(raw: bytes) -> None:
    """Nor does it do harm."""
    for piece in (
        raw,
        b"From: " + raw,
        b"Content-Type: " + raw,
        b"Content-Type: text/plain; charset=" + raw + b"\n\nx",
    ):
        try:
            assert link_of(piece) is None
        except CannotRead:
            continue


def test_a_mail_nested_without_end_is_refused_or_read() -> None:
    """A thousand mails in one another cost one refusal at most."""
    raw = b"Content-Type: message/rfc822\r\n\r\n" * 3000 + b"Content-Type: text/plain\r\n\r\nx"
    try:
        assert read_contents(raw) == ([], [])
    except CannotRead as error:
        assert "RecursionError" in str(error)
