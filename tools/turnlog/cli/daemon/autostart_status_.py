"""`turnlog daemon autostart-status`: whether the machine starts the daemon."""

import os

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.daemon.service.installing import Autostart, autostart, find_manager
from turnlog.daemon.service.program import find_program


@click.command("autostart-status")
@json_option
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Tell whether the machine starts the daemon.

    Looks for the user's service, then for the system's. Ends 1 if one is installed and not as it should be.
    """
    status = _find(app)
    if as_json:
        print_json(status)
    else:
        _print(status)
    return 1 if status.attention else 0


def _find(app: App) -> Autostart:
    """The service of the user; that of the system if only that is installed."""
    found = []
    for system in (False, True):
        program = find_program(app.directory, app.config_or_defaults, os.environ, system=system)
        found.append(autostart(find_manager(system=system), program))
        if found[-1].installed:
            return found[-1]
    return found[0]


def _print(status: Autostart) -> None:
    if not status.installed:
        click.echo("not installed; `turnlog daemon install` does it")
        return
    enabled = "enabled" if status.enabled else "not enabled"
    lingering = {None: "", True: ", also while you are logged out", False: ", while you are logged in"}[status.lingers]
    click.echo(f"installed ({status.manager}, {status.scope}), {enabled}{lingering}, {status.state}: {status.file}")
    for sentence in status.attention:
        say(sentence)
