"""Where the log and its configuration are; the order of precedence is also tested with real commands."""

from pathlib import Path

import pytest

from turnlog.config import Config
from turnlog.errors import ConfigError
from turnlog.places import Places, find_places, read_config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_anything_the_platforms_folder_is_meant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made there, and no file means the defaults."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    places = find_places(None, None, {})
    assert places == Places(home / "state" / "turnlog", None)
    assert read_config(places, {}) == Config()
    assert list(home.iterdir()) == []


def test_an_empty_word_says_nothing(home: Path) -> None:
    """An option or a variable that is set to nothing is as if it were not there."""
    assert find_places("", "", {"TURNLOG_DIR": "", "TURNLOG_CONFIG": ""}) == find_places(None, None, {})


@pytest.mark.parametrize("directory", [None, "d"])
def test_a_file_that_is_named_is_not_looked_for_elsewhere(home: Path, directory: str | None) -> None:
    """That it is not there is found out when it is read; where it alone could tell the folder, at once."""
    (home / ".config" / "turnlog").mkdir(parents=True)
    (home / ".config" / "turnlog" / "turnlog.toml").write_text("")
    if directory is None:
        with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
            find_places(directory, "none.toml", {})
    else:
        places = find_places(directory, "none.toml", {})
        assert places == Places(Path("d"), Path("none.toml"))
        with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
            read_config(places, {})


def test_a_tilde_is_the_home_folder_and_nothing_where_there_is_none(home: Path) -> None:
    """Shells leave it as it is in `--dir=~/x` and in files of variables."""
    assert find_places("~/x", "~/y.toml", {}) == Places(home / "x", home / "y.toml")
    assert find_places("~nobody-here/x", None, {}).directory == Path("~nobody-here/x")


def test_the_folders_own_file_comes_before_the_platforms(home: Path) -> None:
    """Each is used only if it is a file."""
    own, platform = home / "d" / "turnlog.toml", home / ".config" / "turnlog" / "turnlog.toml"
    own.mkdir(parents=True)
    platform.parent.mkdir(parents=True)
    assert find_places(str(home / "d"), None, {}).config_path is None
    platform.write_text("")
    assert find_places(str(home / "d"), None, {}).config_path == platform
    own.rmdir()
    own.write_text("")
    assert find_places(str(home / "d"), None, {}).config_path == own
