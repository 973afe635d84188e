"""`turnlog daemon reload`."""

import click

from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.daemon.asking import ask_daemon
from turnlog.cli.output import print_json
from turnlog.errors import ConfigError


@click.command("reload")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Have the daemon read its configuration anew.

    It is checked first: if something is wrong with it all goes on as before, and it ends 78. What is different is
    printed, and applied without waiting for any sink. Ends 1 if no daemon runs.
    """
    answer = ask_daemon(app, "reload", as_json=as_json)
    if answer is None:
        return 1
    if as_json:
        print_json(answer)
        return 0 if answer["ok"] else ConfigError.exit_code
    if not answer["ok"]:
        raise ConfigError(f"all goes on as before, for the new configuration cannot be used: {answer['error']}")
    for change in answer["changes"]:
        print(change)
    print(f"configuration {answer['generation']} is in use" + ("" if answer["changes"] else "; nothing is different"))
    return 0
