"""What the commands share: the log's folder, the configuration, the log."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from turnlog.cli.output import one_line
from turnlog.config import Config, as_path
from turnlog.convert import nearest
from turnlog.errors import ConfigError, WrongUsage
from turnlog.places import Places, find_places, read_config

if TYPE_CHECKING:
    from eventlog import EventLog
    from projections import Delivery, Fold, RetryPolicy
    from turnlog.recorder import TurnRecorder


class App:
    """One run of the command line; finds and loads things when they are asked for: a log takes 100 ms to import."""

    def __init__(self, directory: str | None, config_path: str | None) -> None:
        self._directory = directory
        self._config_path = config_path

    @cached_property
    def places(self) -> Places:
        """Where things are. Raises ConfigError."""
        return self.find_places()

    def find_places(self) -> Places:
        """Where things are by now. Raises ConfigError."""
        return find_places(self._directory, self._config_path, os.environ)

    @property
    def directory(self) -> Path:
        """The log's folder."""
        return self.places.directory

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        return read_config(self.places, os.environ)

    def check_config(self) -> None:
        """Raise ConfigError with all that is wrong with the configuration, its sinks and its sources."""
        from turnlog.sync.checks import check_config

        if problems := check_config(self.config, os.environ):
            raise ConfigError("; ".join(problems))

    @property
    def options(self) -> list[str]:
        """The same places for another process, wherever that is; the configuration only if somebody named it."""
        named = self._config_path or os.environ.get("TURNLOG_CONFIG")
        config = ["--config", str(as_path(named).absolute())] if named else []
        return ["--dir", str(self.directory.absolute()), *config]

    @cached_property
    def config_or_defaults(self) -> Config:
        """The configuration; for commands that work without one, the defaults and a warning if it is broken."""
        try:
            return self.config
        except ConfigError as error:
            say(f"{error} (going on without the configuration; `turnlog config check` tells more)")
            return Config()

    @property
    def policy(self) -> "RetryPolicy":
        """How patient to be with a turn."""
        return self.config_or_defaults.sync.policy()

    def read_log(self) -> "EventLog":
        """The log, to read. A folder that does not exist is an empty one."""
        from eventlog import EventLog

        return EventLog.open(self.directory, read_only=True)

    def replay(self, *folds: "Fold[Any]") -> tuple[Any, ...]:
        """The folds' states; where the log is damaged, a warning says so."""
        from eventlog import Problem
        from projections import replay

        problems: list[Problem] = []
        states = replay(self.read_log(), *folds, problems=problems)
        if problems:
            say(f"{len(problems)} damaged places in the log were passed over; `turnlog verify` tells where")
        return states

    def check_sink(self, name: str | None, state: "Delivery") -> None:
        """Raise WrongUsage for a sink that neither the log nor the configuration knows; None is any."""
        known = {*state.sinks, *(sink.name for sink in self.config_or_defaults.sinks)}
        if name is not None and name not in known:
            raise WrongUsage(f"there is no sink {name!r}{nearest(name, list(known))}")

    @contextmanager
    def recorder(self, *, dry_run: bool = False, enrol: bool = True) -> Iterator["TurnRecorder"]:
        """A recorder on the log; the configuration's new sinks are enrolled first."""
        from turnlog.recorder import TurnRecorder
        from turnlog.sync.enrolment import enrol_sinks

        directory, config = self.directory, self.config_or_defaults
        with TurnRecorder(directory, durability=config.log.durability, dry_run=dry_run) as recorder:
            if enrol:
                enrol_sinks(recorder, config.sinks)
            yield recorder


pass_app = click.make_pass_decorator(App)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def say(text: str) -> None:
    """Talk to a person, on stderr."""
    print(f"turnlog: {one_line(text)}", file=sys.stderr)
