"""`turnlog daemon uninstall`: take the daemon from the machine's service manager."""

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.daemon.service.installing import carry_out, find_manager, plan_uninstall


@click.command("uninstall")
@click.option("--system", is_flag=True, help="What was installed with --system; needs the rights of root.")
@json_option
@pass_app
def command(app: App, *, system: bool, as_json: bool) -> None:
    """Have it started no longer, and leave nothing behind.

    Stops the daemon, switches it off and removes its file. The log stays, and so does what was recorded.
    """
    manager = find_manager(system=system)
    steps = plan_uninstall(manager, app.directory)
    carry_out(steps)
    done = [str(step) for step in steps]
    if as_json:
        print_json({"manager": manager.name, "scope": manager.scope, "file": str(manager.path), "steps": done})
    elif steps:
        for step in done:
            click.echo(f"done: {step}", err=True)
        say("the daemon is uninstalled" + (f"; the log in {app.directory} stays" if app.directory.exists() else ""))
    else:
        say("the daemon is not installed, so there is nothing to do")
