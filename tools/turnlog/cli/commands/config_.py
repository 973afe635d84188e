"""`turnlog config`: the configuration."""

import os

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.config import Config
from turnlog.errors import ConfigError
from turnlog.sync.checks import check_config
from turnlog.text import clean


@click.group("config")
def command() -> None:
    """Validate the configuration."""


@command.command("check")
@json_option
@pass_app
def check(app: App, as_json: bool) -> int:
    """Check the file, the options of sinks and sources, and the secrets.

    Says everything that is wrong, and ends 78 if something is. Secrets are never printed.
    """
    problems = _problems(app)
    path = app.places.config_path if not problems or "config" in app.__dict__ else None
    if as_json:
        print_json({"ok": not problems, "path": path and clean(str(path))[0], "problems": clean(problems)[0]})
    for problem in problems:
        say(problem)
    if not problems and not as_json:
        _print(app.config)
    return ConfigError.exit_code if problems else 0


def _problems(app: App) -> list[str]:
    try:
        config = app.config
    except ConfigError as error:
        return [str(error)]
    return check_config(config, os.environ)


def _print(config: Config) -> None:
    sinks = ", ".join(f"{sink.name} ({sink.type})" for sink in config.sinks)
    if config.path is not None:
        click.echo(f"ok: {config.path}, sinks: {sinks or 'none'}")
    elif sinks:
        click.echo(f"ok: there is no configuration file; from the environment, sinks: {sinks}")
    else:
        click.echo("ok: there is no configuration file, so everything has its default and nothing is delivered")
