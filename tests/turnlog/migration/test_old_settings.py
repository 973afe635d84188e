"""The settings of old setups, as far as they are known, and everything that may stand in their place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.errors import ConfigError
from turnlog.migration.old_settings import Worker, is_calendar, lines_delivered, read_env, read_worker

CANARY = "canary-7193"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_variables_are_read_as_shells_write_them(tmp_path: Path) -> None:
    """Quotes, `export`, comments, a byte order mark; what has no value is left out, and nothing is expanded."""
    path = written(
        tmp_path,
        ".env",
        "\ufeff# old\nexport MEMOBASE_URL='http://x:1' # here\nUSER_ID=amy\nEMPTY=\nBARE\nT=${HOME}\r\n",
    )
    assert read_env(path) == {"MEMOBASE_URL": "http://x:1", "USER_ID": "amy", "T": "${HOME}"}


@pytest.mark.parametrize(
    ("said", "worker"),
    [
        ("server: {base_url: 'http://x:1'}", Worker(url="http://x:1")),
        ("worker: {check_interval: 30s, batch_size: 20}", Worker(interval_seconds=30, batch_size=20)),
        ("worker: {check_interval: 1m30s}\nsecurity: {worker_token: t}", Worker(interval_seconds=90, token="t")),
        ("worker: {check_interval: 2.5}", Worker(interval_seconds=2.5)),
        ("server: {base_url: ''}\nworker:\n", Worker()),
    ],
)
def test_a_workers_file_says_this(tmp_path: Path, said: str, worker: Worker) -> None:
    """Address, interval (seconds, or a duration as Go writes it), batch size, token: each may be missing."""
    assert read_worker(written(tmp_path, "config.yaml", said)) == worker


@pytest.mark.parametrize("said", ["", "[]", "42", "server: 1", "worker: [1]", "name: x", "server: {port: 1}"])
def test_the_yaml_of_another_program_is_no_workers(tmp_path: Path, said: str) -> None:
    """Nothing is made of it."""
    assert read_worker(written(tmp_path, "config.yaml", said)) is None


@pytest.mark.parametrize(
    "said",
    [
        f"security: {{worker_token: {CANARY}",
        f"security:\n\tworker_token: {CANARY}",
        f"security: {{worker_token: [{CANARY}]}}",
        f"security: {{worker_token: !!python/object/apply:os.system ['{CANARY}']}}",
        f"worker: {{check_interval: {CANARY}}}",
        "worker: {check_interval: -1}",
        "worker: {check_interval: true}",
        "worker: {check_interval: 1, batch_size: many}",
        "server: {base_url: 7}",
        "[" * 5000,
        b"\xff\xfe",
        b"x" * (2 << 20),
    ],
    ids=range(12),
)
def test_a_broken_workers_file_is_named_and_not_quoted(tmp_path: Path, said: str | bytes) -> None:
    """One sentence that names the file; the parser's own would quote a secret. Nothing in it is executed."""
    path = written(tmp_path, "config.yaml", said)
    with pytest.raises(ConfigError, match=r"config\.yaml") as raised:
        read_worker(path)
    assert CANARY not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_worker_does_not_show_its_token() -> None:
    """Not in its repr, which ends in tracebacks."""
    assert CANARY not in repr(Worker(url="http://x", token=CANARY))


def test_a_broken_variable_is_named_by_its_line(tmp_path: Path) -> None:
    """And not quoted."""
    with pytest.raises(ConfigError, match="line 2") as raised:
        read_env(written(tmp_path, ".env", f'A=1\n="{CANARY}\n'))
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "lines"),
    [("5", 5), (" 7\n", 7), ("0", 0), ('{"last_line": 3}', 3), ('{"synced": 4, "at": "2024-12-04"}', 4)],
)
def test_a_mark_of_progress_counts_lines(tmp_path: Path, said: str, lines: int) -> None:
    """A number, or an object with one number under a name that speaks of lines or turns."""
    assert lines_delivered(written(tmp_path, ".progress", said)) == lines


@pytest.mark.parametrize(
    "said",
    [
        "",
        "two",
        "-1",
        "1 2",
        "{}",
        '{"offset": 512}',
        '{"line": 1, "synced": 2}',
        '{"line": true}',
        '{"line": "3"}',
        "[3]",
    ],
)
def test_a_mark_that_may_mean_anything_means_nothing(tmp_path: Path, said: str) -> None:
    """A wrong guess would lose turns or send them twice."""
    assert lines_delivered(written(tmp_path, ".progress", said)) is None


@given(content=st.binary(max_size=200))
def test_no_bytes_break_a_reader(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever stands in a file: a value, or ConfigError."""
    path = written(tmp_path_factory.mktemp("old"), "file", content)
    for read in (read_env, read_worker, lines_delivered, is_calendar):
        try:
            read(path)
        except ConfigError as error:
            assert str(path) in str(error)


def test_the_configuration_of_calsync_is_recognised(tmp_path: Path) -> None:
    """By what it holds, or by its folder; another program's config.json is none."""
    assert is_calendar(written(tmp_path, "config.json", '{"caldav_url": "http://x"}'))
    assert not is_calendar(written(tmp_path, "config.json", '{"port": 1}'))
    (tmp_path / "CalSync").mkdir()
    assert is_calendar(written(tmp_path / "CalSync", "config.json", "{"))
