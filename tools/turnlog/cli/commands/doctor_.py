"""`turnlog doctor`: what is wrong here, and what to do about it."""

import os

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.doctor.all_checks import all_checks
from turnlog.doctor.configuration import CONFIGURATION, SECRETS
from turnlog.doctor.findings import Finding, run_checks
from turnlog.doctor.subject import Subject
from turnlog.errors import ConfigError
from turnlog.text import clean


@click.command("doctor")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Find out what is wrong with this installation, and how to mend it.

    Looks at packages and where they were loaded from, the log's folder, its locks, disk and clock, the configuration,
    secrets, sources, sinks, service and daemon. Changes nothing; a folder that is not there is not made. Ends 0 if
    all is well, 1 if something needs attention, 78 if the configuration or a secret is broken.
    """
    findings = []
    for finding in run_checks(all_checks(_subject(app))):
        findings.append(finding)
        if as_json:
            print_json(clean({name: getattr(finding, name) for name in finding.__struct_fields__})[0])
    if not as_json:
        _print(findings)
    return _exit_code(findings)


def _subject(app: App) -> Subject:
    try:
        directory = app.directory
    except ConfigError as error:  # only it could tell the folder
        return Subject(None, None, str(error), os.environ)
    try:
        return Subject(directory, app.config, "", os.environ)
    except ConfigError as error:
        return Subject(directory, None, str(error), os.environ)


def _print(findings: list[Finding]) -> None:
    rows = [(finding.name, finding.state, finding.sentence, finding.remedy) for finding in findings]
    print_table(("check", "state", "what is so", "what to do"), rows)
    bad = sum(finding.state in ("warn", "fail") for finding in findings)
    say(f"{bad} of {len(findings)} findings need attention" if bad else "all is well")


def _exit_code(findings: list[Finding]) -> int:
    failed = {finding.name for finding in findings if finding.state == "fail"}
    if failed & {CONFIGURATION, SECRETS}:
        return ConfigError.exit_code
    return 1 if any(finding.state in ("warn", "fail") for finding in findings) else 0
