"""The crash test as a program: a sound log passes, a broken one is caught, and a seed says which rounds are played."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "crashtest" / "run"


def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize("group", ["kill", "disk", "errors", "kernel", "limits"])
def test_a_sound_log_passes(tmp_path: Path, group: str) -> None:
    """A few rounds of each group end 0, tell how much was tried, and leave no file behind."""
    done = run("--rounds", 4, "--seed", 1, "--group", group, "--dir", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, tally, last = done.stdout.splitlines()
    assert (first, last) == ("seed 1", "no promise was broken")
    counted = re.fullmatch(rf"{group} +4 rounds, (\d+) acknowledged events, (\d+) crashes", tally)
    if group in ("kernel", "limits") and counted is None:
        assert re.fullmatch(rf"{group} +skipped: .+", tally)
    else:
        assert counted is not None
        assert min(map(int, counted.groups())) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("broken", "group", "told"),
    [
        ("skip-sync", "disk", "is not in the log"),
        ("acknowledge-early", "kill", "was acknowledged as seq"),
        ("acknowledge-early", "disk", "is not in the log"),
        ("forget-folder-sync", "disk", "is not in the log"),
    ],
)
def test_a_broken_log_is_caught(tmp_path: Path, broken: str, group: str, told: str) -> None:
    """A build that is broken on purpose ends 1 within a few rounds: a sentence says which promise it broke.

    The files of the round that found it are kept, and the line that replays it finds it again.
    """
    done = run("--rounds", 10, "--seed", 1, "--group", group, "--broken", broken, "--dir", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"event \S+ was acknowledged as seq \d+ .*{told}|event \S+ {told} \d+", done.stdout)
    kept = re.search(r"its files are in (.+)", done.stdout)
    assert kept is not None
    assert (Path(kept[1]) / "broken.txt").read_text().splitlines()[0] in done.stdout
    replay = re.search(r"replay it with: tools/crashtest/run (.+)", done.stdout)
    assert replay is not None
    again = run(*replay[1].split(), "--dir", tmp_path)
    assert again.returncode == 1
    assert " 1 rounds" in again.stdout


def test_a_seed_says_which_rounds_are_played(tmp_path: Path) -> None:
    """The same seed gives the same rounds, another one others; without one, one is drawn and printed."""
    command = ("--rounds", 3, "--group", "disk", "--dir", tmp_path)
    first, second, other = (run(*command, "--seed", seed).stdout for seed in (4, 4, 8))
    assert first == second
    assert first.splitlines()[1] != other.splitlines()[1]
    drawn = run("--rounds", 1, "--group", "disk", "--dir", tmp_path).stdout
    assert re.match(r"seed \d+\n", drawn)


def test_a_group_that_the_machine_does_not_allow_is_skipped(tmp_path: Path) -> None:
    """Without its tools the group is not run; a line says why, and the others decide how it ends."""
    done = run("--rounds", 1, "--seed", 1, "--group", "kernel", "disk", "--dir", tmp_path, PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^kernel +skipped: (it needs|mkfs.ext4 is not installed)", done.stdout, re.MULTILINE)
    assert re.search(r"^disk +1 rounds", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--group", "nonsense"], ["--broken", "nonsense"], ["--rounds", "0"], ["--x"]])
def test_wrong_usage(arguments: list[str]) -> None:
    """What does not exist ends 2."""
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: tools/crashtest/run" in done.stderr
