"""`turnlog daemon install`: give the daemon to the machine's service manager."""

import os

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.daemon.service.installing import carry_out, find_manager, plan_install
from turnlog.daemon.service.manager import Manager
from turnlog.daemon.service.program import environment_needed, find_program


@click.command("install")
@click.option("--system", is_flag=True, help="For the whole machine, from boot on; needs the rights of root.")
@click.option("--dry-run", is_flag=True, help="Print the file and the steps, and do nothing.")
@json_option
@pass_app
def command(app: App, *, system: bool, dry_run: bool, as_json: bool) -> None:
    """Have the daemon started by the machine from now on.

    Writes and shows the file of a systemd unit or a launchd job, switches it on and starts it. Again and again it
    changes nothing.
    """
    program = find_program(app.directory, app.config, os.environ, system=system)
    manager = find_manager(system=system)
    content = manager.render(program).decode()
    if dry_run:
        reason = manager.missing()
        steps = [] if reason else manager.install_steps(program)
        advice = [f"{reason}, so there would be nobody to read this"] if reason else []
    else:
        steps = plan_install(manager, program)
        carry_out(steps)
        advice = manager.advice()
    advice += _environment(app)
    done = [str(step) for step in steps]
    if as_json:
        print_json(
            {
                "manager": manager.name,
                "scope": manager.scope,
                "file": str(manager.path),
                "content": content,
                "steps": done,
                "done": not dry_run,
                "advice": advice,
            }
        )
        return
    _print(manager, content, done, dry_run=dry_run)
    for sentence in advice:
        say(sentence)


def _print(manager: Manager, content: str, steps: list[str], *, dry_run: bool) -> None:
    click.echo(f"# {manager.path}\n{content}")
    for step in steps:
        click.echo(f"{'would do' if dry_run else 'done'}: {step}", err=True)
    if not dry_run:
        say(f"the daemon is installed and runs; {manager.name} starts it from now on")


def _environment(app: App) -> list[str]:
    """What a person has in their shell and a service has not."""
    sentences = [
        f"the sink {sink!r} needs the environment variable {name}, which a service has not; put it into a file: "
        "token = { file = ... }"
        for sink, name in environment_needed(app.config)
    ]
    if app.config.path is None and app.config.sinks:
        sentences.append(
            "the sink is described by this shell's environment, which a service has not; write turnlog.toml"
        )
    return sentences
