"""`turnlog daemon drain`."""

import click

from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.daemon.asking import ask_daemon
from turnlog.cli.output import print_json


@click.command("drain")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Have the daemon begin nothing more, until it is reloaded.

    It stays and answers. What is in flight is finished. Ends 1 if no daemon runs.
    """
    answer = ask_daemon(app, "drain", as_json=as_json)
    if answer is None:
        return 1
    if as_json:
        print_json(answer)
    else:
        print("the daemon begins nothing more; `turnlog daemon reload` has it go on")
    return 0
