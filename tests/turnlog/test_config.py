"""The configuration: what a file says, and that nothing in it is passed over."""

from pathlib import Path

import msgspec
import pytest

from projections import RetryPolicy
from turnlog.config import Config, SinkConfig, SourceConfig, SyncConfig, default_user, load, log_dir, parse
from turnlog.errors import ConfigError

FULL = """
[log]
dir = "~/turns"
durability = "os"

[sync]
interval_seconds = 60
max_attempts = 7
base_seconds = 0.5
max_seconds = 10

[[sinks]]
name = "team"
type = "batch"
url = "http://127.0.0.1:8080"
token = { env = "TEAM_TOKEN" }

[[sinks]]
name = "memory"
type = "memobase"
backfill = false

[[sources]]
type = "claude_code"
path = "~/.claude/projects"
"""
PATH = Path("/etc/turnlog.toml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, PATH)
    return str(caught.value)


def test_everything_has_a_default() -> None:
    """No file and an empty file are the same configuration, but for the path."""
    assert load(None) == Config()
    assert parse("", PATH) == Config(path=PATH)
    assert Config().sync.policy() == RetryPolicy(max_attempts=5, base_seconds=2.0, max_seconds=300.0)
    assert (Config().log.durability, Config().folder, Config(path=PATH).folder) == ("fsync", Path(), Path("/etc"))


def test_what_a_file_says_is_taken() -> None:
    """What belongs to a sink or source alone is handed on to it unread."""
    config = parse(FULL, PATH)
    assert (config.log.dir, config.log.durability) == ("~/turns", "os")
    assert config.sync == SyncConfig(60, 7, 0.5, 10)
    team = SinkConfig("team", "batch", True, {"url": "http://127.0.0.1:8080", "token": {"env": "TEAM_TOKEN"}})
    assert config.sinks == (team, SinkConfig("memory", "memobase", False, {}))
    assert config.sources == (SourceConfig("claude_code", {"path": "~/.claude/projects"}),)
    assert config.sync.policy() == RetryPolicy(7, 0.5, 10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sync]\nmax_seconds = -1", "base_seconds and max_seconds must be from 0 to 31536000 (a year)"),
        ("[sync]\nbase_seconds = 1e18", "must be from 0 to"),
        ("[sync]\ninterval_seconds = 0", "interval_seconds must be above 0"),
        ("[sync]\ninterval_seconds = nan", "interval_seconds must be above 0"),
        ("[sync]\nmax_attempts = 0", "max_attempts must be at least 1"),
        ("[log]\ndurabilty = 'os'", "[log]: unknown key 'durabilty'; did you mean 'durability'?"),
        ("[sinks]\nname = 'a'", "Expected `array`, got `object` at `sinks`"),
        ("[[sinks]]\ntype = 'a'", "sink 1: missing key `name`"),
        ("[[sinks]]\nname = ''\ntype = 'a'", "sink 1: the name ''"),
        ("[[sinks]]\nname = 'ä'\ntype = 'a'", "sink 1: the name 'ä'"),
        ("[[sinks]]\nname = 'a/b'\ntype = 'a'", "sink 1: the name 'a/b'"),
        (f"[[sinks]]\nname = '{'x' * 65}'\ntype = 'a'", "at most 64"),
        ("[[sources]]\npath = 'a'", "source 1: missing key `type`"),
        ("a = " + "[" * 5000, "no valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_place(text: str, words: str) -> None:
    """One sentence, in the words of the file."""
    sentence = refusal(text)
    assert sentence.startswith(str(PATH))
    assert words in sentence
    assert "\n" not in sentence


def test_a_wait_that_the_configuration_allows_can_be_computed() -> None:
    """The limits are such that no policy that passes them overflows a time, after however many attempts."""
    from datetime import UTC, datetime, timedelta

    from projections import delay_seconds

    policy = parse(
        "[sync]\nbase_seconds = 31536000\nmax_seconds = 31536000\nmax_attempts = 1000000", PATH
    ).sync.policy()
    for attempts in (1, 63, 64, 65, 10**6):
        assert datetime.now(UTC) + timedelta(seconds=delay_seconds(policy, 1, attempts))


def test_a_file_is_read_whatever_editor_wrote_it(tmp_path: Path) -> None:
    """A byte order mark and CRLF are passed over; what is no UTF-8, or not there, is told."""
    path = tmp_path / "t.toml"
    path.write_bytes(b"\xef\xbb\xbf[sync]\r\nmax_attempts = 9\r\n")
    assert load(path).sync.max_attempts == 9
    path.write_bytes(b"\xff")
    for wrong, words in ((path, "is not UTF-8: "), (tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=words):
            load(wrong)


def test_the_logs_folder_is_found_in_a_file_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    """As long as it is TOML; a value that is no text says nothing."""
    path = tmp_path / "t.toml"
    for text, expected in {
        "[log]\ndir = 'd'\n[nonsense]\n": tmp_path / "d", "[log]\ndir = '/d'\ndirr = 1\n": Path("/d"),
        "[log]\ndir = 5\n": None, "[log]\ndir = ''\n": None, "log = 3\n": None, "": None,
    }.items():  # fmt: skip
        path.write_text(text)
        assert log_dir(path) == expected
    path.write_text("[log")
    with pytest.raises(ConfigError, match="no valid TOML"):
        log_dir(path)


def test_a_configuration_cannot_be_changed() -> None:
    """It is a value."""
    with pytest.raises(AttributeError):
        load(None).sync.max_attempts = 3  # type: ignore[misc]
    assert msgspec.structs.asdict(load(None))["path"] is None


def test_a_turn_that_says_no_user_is_the_environments() -> None:
    """USER_ID, if it says something."""
    assert default_user({"USER_ID": "me"}) == "me"
    assert default_user({"USER_ID": ""}) == default_user({}) == "default"


OLD = {"MEMOBASE_URL": "http://127.0.0.1:8019", "MEMOBASE_ACCESS_TOKEN": "secret", "MEMOBASE_SYNC_INTERVAL": "60"}


def test_the_old_scripts_variables_make_a_sink_without_any_file() -> None:
    """Named `memobase`, with the token as a reference; the interval is theirs."""
    config = load(None, OLD)
    token = {"env": "MEMOBASE_ACCESS_TOKEN"}
    assert config.sinks == (SinkConfig("memobase", "memobase", options={"url": OLD["MEMOBASE_URL"], "token": token}),)
    assert config.sync.interval_seconds == 60
    assert load(None, {"MEMOBASE_URL": "http://x", "MEMOBASE_TOKEN": "t"}).sinks[0].options["token"] == {
        "env": "MEMOBASE_TOKEN"
    }
    assert load(None, {}) == Config()


@pytest.mark.parametrize(
    "table", ['name = "memobase"\ntype = "batch"', 'name = "memory"\ntype = "memobase"\nurl = "http://other"']
)
def test_the_file_is_heard_before_the_variables(tmp_path: Path, table: str) -> None:
    """A sink of that name or type in the file is the only one, and its interval counts."""
    path = tmp_path / "turnlog.toml"
    path.write_text(f"[sync]\ninterval_seconds = 7\n[[sinks]]\n{table}\n")
    config = load(path, OLD)
    assert len(config.sinks) == 1
    assert config.sinks[0].options.get("url") != OLD["MEMOBASE_URL"]
    assert config.sync.interval_seconds == 7


@pytest.mark.parametrize("said", ["soon", "-1", "nan", "0"])
def test_an_interval_that_is_none_is_refused(said: str) -> None:
    """In a sentence that says so."""
    with pytest.raises(ConfigError, match=r"MEMOBASE_SYNC_INTERVAL|interval_seconds must be"):
        load(None, {"MEMOBASE_SYNC_INTERVAL": said})
