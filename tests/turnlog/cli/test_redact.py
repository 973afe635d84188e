"""`turnlog redact --check`, and redaction on the way to a receiver that is for real."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.cli import locate
from turnlog.cli.locate import Located, locate_secrets
from turnlog.redaction import find_secrets

from ..secret_samples import AWS_ID, CASES, JWT, ORDINARY, TOKENS, pem
from .support import Cli, Receiver, batch_sink

FIELDS = ("kind", "line", "column", "length")
KEY = pem("RSA PRIVATE KEY")
SAMPLES = ["".join(case[1:]) for case in CASES]


def everywhere(text: str) -> list[Located]:
    """Where the secrets of a text are, told from the whole of it."""
    places = []
    for secret in find_secrets(text):
        before = text[: secret.start]
        column = secret.start - before.rfind("\n")
        length = secret.end - secret.start
        places.append(Located(secret.kind, before.count("\n") + 1, column, length, secret.prefix))
    return places


def test_what_would_be_redacted_is_told_with_its_place(cli: Cli, tmp_path: Path) -> None:
    """Kind, line and column, from 1, in characters; the exit code says that there is something."""
    path = tmp_path / "notes.txt"
    path.write_text(f"\ufeff令牌：{JWT}\n\n  {AWS_ID} https://u:geheim@h\r\n{KEY}\n", encoding="utf-8")
    result = cli("redact", "--check", str(path), "--json")
    assert (result.code, result.err) == (1, "")
    assert [tuple(found) for found in result.objects] == [FIELDS] * 4
    assert [tuple(found.values()) for found in result.objects] == [
        ("jwt", 1, 4, len(JWT)),
        ("aws_access_key_id", 3, 3, 20),
        ("url_password", 3, 34, 6),
        ("private_key", 4, 1, len(KEY)),
    ]
    table = cli("redact", "--check", str(path))
    assert (table.code, table.err) == (1, "")
    assert [line.split()[:3] for line in table.out.splitlines()[1:5]] == [
        [str(value) for value in list(found.values())[:3]] for found in result.objects
    ]
    assert table.out.splitlines()[5] == (
        "4 would be redacted: aws_access_key_id 1, jwt 1, private_key 1, url_password 1"
    )


def test_the_secret_itself_is_never_shown(cli: Cli) -> None:
    """Of every kind: not its end, not its middle, and of its beginning only what is public."""
    for _, before, secret, behind in CASES:
        (found,) = find_secrets(before + secret + behind)
        hidden = secret.removeprefix(found.prefix).replace("-----", "")
        for options in ((), ("--json",)):
            result = cli("redact", "--check", "-", *options, stdin=before + secret + behind)
            assert (result.code, result.err) == (1, "")
            assert not any(hidden[at : at + 6] in result.out for at in range(len(hidden) - 5))


def test_ordinary_text_has_nothing_that_would_go(cli: Cli) -> None:
    """It ends 0 and says so; with --json it prints nothing."""
    text = "\n".join(ORDINARY)
    assert cli.ok("redact", "--check", "-", stdin=text).out == "nothing would be redacted\n"
    assert cli.ok("redact", "--check", "-", "--json", stdin=text).out == ""
    assert cli.ok("redact", "--check", "-", stdin=b"").out == "nothing would be redacted\n"
    assert not cli.directory.exists()


def test_a_file_that_is_not_utf_8_is_searched_all_the_same(cli: Cli, tmp_path: Path) -> None:
    """What cannot be decoded counts as one character each."""
    path = tmp_path / "binary"
    path.write_bytes(b"\x00\xff\xfe" + AWS_ID.encode() + b"\x80\n")
    assert cli("redact", "--check", str(path), "--json").object == {
        "kind": "aws_access_key_id", "line": 1, "column": 4, "length": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        (".", "Is a directory"),
        ("missing/x", "No such file"),
        ("a\0b", "null"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(cli: Cli, tmp_path: Path, name: str, reason: str) -> None:
    """It is named, with the system's reason, and the command ends 2."""
    sentence = cli.refused(2, "redact", "--check", str(tmp_path / name))
    assert " cannot be read: " in sentence
    assert reason in sentence


def test_without_check_it_is_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    """There is nothing else that it does: files are never rewritten."""
    path = tmp_path / "notes"
    path.write_text(JWT)
    said = "say --check to see what would be redacted; files are never rewritten"
    assert cli.refused(2, "redact", str(path)) == said
    assert path.read_text() == JWT
    assert "'FILE'" in cli.refused(2, "redact", "--check")


@given(
    st.lists(st.sampled_from([*SAMPLES, *ORDINARY[:4], "\n", " ", "x" * 300]), max_size=12).map("".join),
    st.integers(1, 900),
)
def test_a_text_in_blocks_is_searched_like_the_whole(text: str, block: int) -> None:
    """Wherever a block ends: in the middle of a key, a line, a name; with windows much smaller than the text."""
    blocks = [text[at : at + block] for at in range(0, len(text), block)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(locate, "OVERLAP", 1500)
        assert list(locate_secrets(blocks)) == everywhere(text)


def test_a_large_file_is_never_in_memory_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is searched at once is a block and what it overlaps, also if a line or a secret has no end."""
    searched: list[int] = []
    monkeypatch.setattr(locate, "WINDOW_MAX", 100_000)
    monkeypatch.setattr(locate, "find_secrets", lambda text: searched.append(len(text)) or find_secrets(text))
    blocks: Sequence[str] = ["line\n" * 4_000, f"{AWS_ID} ", *["x" * 20_000] * 10]
    assert [found.kind for found in locate_secrets(blocks)] == ["aws_access_key_id"]
    assert max(searched) <= 20_000 + locate.OVERLAP + locate.BEFORE
    endless = ["hf_", *["x" * 20_000] * 10]
    assert {found.kind for found in locate_secrets(endless)} == {"huggingface_token"}
    assert max(searched) <= 120_000 + locate.BEFORE


def secret_turn() -> str:
    call = {"type": "tool_call", "name": "bash", "data": {"command": f"curl -u x https://amy:geheim@h -d {AWS_ID}"}}
    messages = [
        {"role": "user", "content": f"my token is {JWT}, and again {JWT}"},
        {"role": "assistant", "content": KEY, "parts": [call]},
    ]
    return json.dumps({"turn_id": "t", "conversation": "c", "messages": messages})


def test_a_receiver_gets_no_secrets_and_the_log_keeps_them(cli: Cli, receiver: Receiver) -> None:
    """Over a socket: it has the markers, the log the turn as it was; the counts are in the log, and told by `show`."""
    cli.configure(receiver.sink())
    cli.ok("record", stdin=secret_turn())
    before = [entry.line for entry in cli.log().read() if entry.type == "TurnRecorded"]
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1
    texts = [text for _, text in receiver.messages()]
    assert sorted(texts) == ["[redacted:private_key]", "my token is [redacted:jwt], and again [redacted:jwt]"]
    stored = b"".join(path.read_bytes() for path in receiver.folder.glob("store.sqlite*"))
    assert b"https://amy:[redacted:url_password]@h -d [redacted:aws_access_key_id]" in stored
    assert not any(secret.encode() in stored for secret in (JWT, AWS_ID, KEY[40:80], "geheim"))
    assert [entry.line for entry in cli.log().read() if entry.type == "TurnRecorded"] == before
    (turn,) = cli.events("TurnRecorded")
    assert (turn.messages[1].content, JWT in turn.messages[0].content) == (KEY, True)
    (succeeded,) = cli.events("SyncSucceeded")
    assert succeeded.redacted == {"jwt": 2, "private_key": 1, "url_password": 1, "aws_access_key_id": 1}
    shown = cli.ok("show", "t", "--json").object
    assert shown["events"][-1]["fields"]["redacted"] == succeeded.redacted
    assert "redacted jwt 2, private_key 1, " in cli.ok("show", "t").out
    assert cli("redact", "--check", str(next((cli.directory / "log").iterdir())), "--json").code == 1


def test_a_sink_may_be_sent_secrets_or_spared_them(cli: Cli, receiver: Receiver) -> None:
    """`redact = false` sends a turn as it is, also to a remote sink; a local one gets it so unless told otherwise."""
    spared = '[[sinks]]\nname = "spared"\ntype = "memory"\nredact = true\n'
    cli.configure(receiver.sink("redact = false"), '[[sinks]]\nname = "local"\ntype = "memory"\n', spared)
    cli.ok("record", stdin=secret_turn())
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 3
    assert {text for _, text in receiver.messages()} == {KEY, f"my token is {JWT}, and again {JWT}"}
    counts = Counter({event.sink: sum(event.redacted.values()) for event in cli.events("SyncSucceeded")})
    assert counts == {"team": 0, "local": 0, "spared": 5}


def test_what_is_redacted_is_so_in_every_request(cli: Cli, receiver: Receiver) -> None:
    """Also in one that is sent again because nobody knew, and for every kind there is."""
    cli.configure(batch_sink("http://127.0.0.1:9", token=receiver.token))
    for number, (_, before, secret, behind) in enumerate(CASES):
        cli.ok("record", "--turn-id", f"t{number}", "--", before + secret + behind or TOKENS[0][1])
    assert cli("sync", "--once").code == 1
    cli.configure(receiver.sink())
    assert cli.ok("sync", "--once", "--json").object["delivered"] == len(CASES)
    expected = Counter(f"{before}[redacted:{kind}]{behind}" for kind, before, _, behind in CASES)
    assert Counter(text for _, text in receiver.messages()) == expected
    told: Counter[str] = sum((Counter(event.redacted) for event in cli.events("SyncSucceeded")), Counter())
    assert told == Counter(kind for kind, *_ in CASES)
