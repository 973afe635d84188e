"""Every test of the command line gets an environment of its own, and a folder for its log that does not exist yet."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from turnlog.daemon.service import installing, launchd, systemd

from .daemons import Service
from .managers import Managers
from .support import Answering, Cli, Receiver, answering

_OURS = ("TURNLOG_DIR", "TURNLOG_CONFIG", "USER_ID", "NO_COLOR", "COLUMNS", "TEAM_TOKEN", "PYTHONIOENCODING")
_THEIRS = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
_MAIL = ("OPENAI_EMAIL_USERNAME", "OPENAI_EMAIL_PASSWORD", "OPENAI_EMAIL_HOST")
_OLD = ("MEMOBASE_URL", "MEMOBASE_ACCESS_TOKEN", "MEMOBASE_TOKEN", "MEMOBASE_SYNC_INTERVAL", *_MAIL)


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's configuration, nor a proxy; what it starts inherits that."""
    for name in (
        *_OURS,
        *_OLD,
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line on a log that is not there yet."""
    return Cli(tmp_path / "data")


@pytest.fixture
def new_receiver(tmp_path: Path) -> Iterator[Callable[[], Receiver]]:
    """Makes receivers with empty stores; they are killed at the end."""
    made: list[Receiver] = []

    def make() -> Receiver:
        folder = tmp_path / f"receiver-{len(made)}"
        folder.mkdir()
        made.append(Receiver(folder))
        return made[-1]

    yield make
    for receiver in made:
        receiver.kill()


@pytest.fixture
def receiver(new_receiver: Callable[[], Receiver]) -> Receiver:
    """A receiver that runs."""
    receiver = new_receiver()
    receiver.start()
    return receiver


@pytest.fixture
def server() -> Iterator[Answering]:
    """A server that answers as the test tells it."""
    with answering() as running:
        yield running


@pytest.fixture
def service(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The daemon of the test's log, which is killed at the end; its warnings are errors, and its socket is here."""
    service = Service(cli)
    with TemporaryDirectory(prefix="tl") as folder:  # a socket's path is short
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("PYTHONWARNINGS", "error")
        yield service
        service.kill()


@pytest.fixture
def managers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Managers:
    """systemd, by its stand-ins, and a configuration that is right."""
    managers = Managers(tmp_path / "managers")
    monkeypatch.setenv("PATH", managers.path)
    monkeypatch.setattr(installing, "PLATFORM", "linux")
    monkeypatch.setattr(systemd, "SYSTEM_FOLDER", managers.state / "etc")
    monkeypatch.setattr(launchd, "SYSTEM_FOLDER", managers.state / "etc")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(managers.state / "run"))
    for name in ("SUDO_USER", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return managers
