"""Secrets: named in the configuration, read when used, never shown."""

from pathlib import Path

import msgspec
import pytest

from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef

CANARY = "canary-4711"


def refusal(secret: SecretRef, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        secret.resolve(folder)
    assert CANARY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n", f"  {CANARY}\r\n\r\n", f"\ufeff{CANARY}"])
def test_a_file_holds_the_secret_whatever_an_editor_put_around_it(tmp_path: Path, content: str) -> None:
    """White space and a byte order mark are no part of it; a relative path begins at the configuration."""
    (tmp_path / "token").write_text(content, encoding="utf-8")
    assert SecretRef(file="token").resolve(tmp_path) == CANARY
    assert SecretRef(file=str(tmp_path / "token")).resolve(Path("/nonexistent")) == CANARY


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is such a home; else it is a name like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(CANARY)
    assert SecretRef(file="~/token").resolve(Path("/nonexistent")) == CANARY
    assert "~nobody-here/token cannot be read" in refusal(SecretRef(file="~nobody-here/token"), tmp_path)


def test_the_environment_holds_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read at each use, not once."""
    secret = SecretRef(env="TEAM_TOKEN")
    monkeypatch.delenv("TEAM_TOKEN", raising=False)
    missing = "the secret in the environment variable TEAM_TOKEN is missing or empty; set it and try again"
    assert refusal(secret, tmp_path) == missing
    monkeypatch.setenv("TEAM_TOKEN", " ")
    assert refusal(secret, tmp_path) == missing
    monkeypatch.setenv("TEAM_TOKEN", f"{CANARY}\n")
    assert secret.resolve(tmp_path) == CANARY


@pytest.mark.parametrize(
    "content", [f"{CANARY}\nmore", f"{CANARY} 令牌", f"{CANARY}\x00", f"é{CANARY}", f"{CANARY}\x7f"]
)
def test_what_no_header_could_carry_is_refused(tmp_path: Path, content: str) -> None:
    """Or every turn would be blamed for it; the sentence does not show it."""
    (tmp_path / "token").write_text(content, encoding="utf-8")
    assert (
        refusal(SecretRef(file="token"), tmp_path)
        == "the secret in the file token must be one line of plain ASCII characters"
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """With the reason."""
    assert (
        refusal(SecretRef(file="no"), tmp_path)
        == f"the secret in the file {tmp_path}/no cannot be read: No such file or directory"
    )
    assert refusal(SecretRef(file="."), tmp_path).endswith("cannot be read: Is a directory")
    assert "cannot be read" in refusal(SecretRef(file="a\0b"), tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + CANARY.encode())
    assert refusal(SecretRef(file="binary"), tmp_path).endswith("cannot be read: it is not UTF-8")
    (tmp_path / "empty").touch()
    assert "is missing or empty" in refusal(SecretRef(file="empty"), tmp_path)


def test_a_reference_is_one_of_two_and_shows_no_secret(tmp_path: Path) -> None:
    """Neither both nor none, and no other key."""
    for wrong in ({}, {"env": "A", "file": "B"}, {"env": "A", "value": CANARY}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, SecretRef)
    (tmp_path / "token").write_text(CANARY)
    secret = SecretRef(file="token")
    secret.resolve(tmp_path)
    assert CANARY not in f"{secret!r} {secret}"
