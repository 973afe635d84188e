"""`turnlog migrate`: from the old scripts to here."""

import os
from pathlib import Path

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.migrating import additions, carry_out
from turnlog.cli.output import print_json, print_table
from turnlog.config import FILE_NAME, Config, load
from turnlog.errors import ConfigError
from turnlog.migration.finding import find_old_files
from turnlog.migration.plan import Given, Plan, make_plan
from turnlog.sources.importing import ImportCounts
from turnlog.sources.times import zone
from turnlog.text import clean


@click.command("migrate")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--apply", "apply", is_flag=True, help="Do it. Again changes nothing; the old files are never touched.")
@click.option("--user", help="Whose turns they are.  [default: USER_ID of the old .env, $USER_ID, or 'default']")
@click.option(
    "--timezone", metavar="ZONE", help="Of times without one, such as Asia/Shanghai.  [default: this machine's]"
)
@click.option(
    "--delivered-lines",
    type=click.IntRange(0),
    metavar="COUNT",
    help="So many lines of save_data.jsonl were delivered.  [default: what .progress says]",
)
@json_option
@pass_app
def command(
    app: App,
    path: Path,
    *,
    apply: bool,
    user: str | None,
    timezone: str | None,
    delivered_lines: int | None,
    as_json: bool,
) -> int:
    """Take over an old setup: its turns, deliveries and settings.

    PATH is the folder of the old scripts (save_data.jsonl, .progress, .env, config.yaml), or the file of turns itself.
    Prints what would be done; with --apply it is done: the turns are recorded, those that were delivered as known to
    their sink, and turnlog.toml gets the sinks, with each token in a file of its own (0600) beside it. Stop the old
    scripts first, so that nothing is delivered by both.
    """
    config_path = app.places.config_path or app.directory / FILE_NAME
    config = load(config_path) if config_path.exists() else Config()
    given = Given(app.directory, config_path, config, os.environ, user, zone(timezone), delivered_lines)
    plan = make_plan(find_old_files(path), given)
    counts = None
    if apply and not plan.problems:
        counts = carry_out(plan, given)
    if as_json:
        print_json(_to_json(plan, given, counts))
    else:
        _print(plan, given, counts)
    for problem in plan.problems:
        say(problem)
    if plan.problems:
        say("nothing was changed")
    return ConfigError.exit_code if plan.problems else 0


def _to_json(plan: Plan, given: Given, counts: ImportCounts | None) -> object:
    told = {
        "applied": counts is not None,
        "found": [{"path": found.path, "what": found.what} for found in plan.found],
        "turns": plan.turns and {name: getattr(plan.turns, name) for name in plan.turns.__struct_fields__},
        "imported": counts and {name: getattr(counts, name) for name in counts.__struct_fields__},
        "configuration": {
            "path": str(given.config_path),
            "interval_seconds": plan.interval_seconds,
            "sinks": plan.sinks,
            "secrets": [str(secret.path) for secret in plan.secrets],
        },
        "left_alone": plan.left_alone,
        "problems": plan.problems,
    }
    return clean(told)[0]


def _print(plan: Plan, given: Given, counts: ImportCounts | None) -> None:
    print_table(("found", "what it is"), [(found.path, found.what) for found in plan.found])
    if plan.turns is not None and counts is None:
        click.echo(f"{plan.turns.new} turns would be recorded in {given.directory}")
    elif counts is not None:
        click.echo(f"recorded {counts.recorded}, unchanged {counts.unchanged}, quarantined {counts.quarantined}")
    if plan.changes_configuration:
        click.echo(f"{given.config_path} {'got' if counts else 'would get'}:\n")
        click.echo("".join(f"    {line}\n" if line else "\n" for line in additions(plan, given).splitlines()))
    for secret in plan.secrets:
        click.echo(f"{secret.path} (0600) {'holds' if counts else 'would hold'} a token")
    for sentence in plan.left_alone:
        click.echo(f"left alone: {sentence}")
    _print_next(plan, counts)


def _print_next(plan: Plan, counts: ImportCounts | None) -> None:
    if counts is not None:
        say("next: `turnlog doctor`, then `turnlog daemon start` (`reload` if it runs) or `turnlog sync --once`")
    elif not plan.problems:
        say("nothing was changed; stop the old scripts, then say --apply")
