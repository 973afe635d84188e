"""`turnlog redact`: what would be taken out."""

import sys
from collections import Counter
from collections.abc import Iterator

import click

from turnlog.cli.app import json_option
from turnlog.cli.locate import Located, locate_secrets
from turnlog.cli.output import print_json, print_table
from turnlog.errors import WrongUsage

_BLOCK_CHARACTERS = 1024 * 1024


@click.command("redact")
@click.argument("file")
@click.option("--check", is_flag=True, help="Look at FILE, and change nothing.")
@json_option
def command(file: str, check: bool, as_json: bool) -> int:
    """Show which secrets would not be sent.

    FILE is any text, or - for stdin. Tells the kind and the place of everything that a sink which redacts would get as
    [redacted:KIND], and never the secret. Ends 1 if there is something.
    """
    if not check:
        raise WrongUsage("say --check to see what would be redacted; files are never rewritten")
    counts: Counter[str] = Counter()
    found = _counted(locate_secrets(_blocks(file)), counts)
    if as_json:
        for secret in found:
            print_json({"kind": secret.kind, "line": secret.line, "column": secret.column, "length": secret.length})
    elif rows := [(s.kind, s.line, s.column, f"{s.prefix}... ({s.length} characters)") for s in found]:
        print_table(("kind", "line", "column", "secret"), rows)
        click.echo(f"{counts.total()} would be redacted: " + ", ".join(f"{k} {n}" for k, n in sorted(counts.items())))
    else:
        click.echo("nothing would be redacted")
    return 1 if counts else 0


def _counted(secrets: Iterator[Located], counts: Counter[str]) -> Iterator[Located]:
    for secret in secrets:
        counts[secret.kind] += 1
        yield secret


def _blocks(file: str) -> Iterator[str]:
    """The text of a file, or of stdin, a block at a time; what is not UTF-8 in it becomes U+FFFD."""
    opened = sys.stdin.fileno() if file == "-" else file
    try:
        with open(opened, encoding="utf-8-sig", errors="replace", newline="", closefd=file != "-") as stream:
            while block := stream.read(_BLOCK_CHARACTERS):
                yield block
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise WrongUsage(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
