"""`turnlog`: finds the command, and turns errors into a sentence and an exit code."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from turnlog.cli.lazy import LazyGroup

COMMANDS = {
    "demo": "Show the main job on an embedded receiver.",
    "record": "Record turns from arguments or JSON Lines on stdin.",
    "import": "Record turns from the files of another program.",
    "migrate": "Take over an old setup: its turns, deliveries and settings.",
    "sync": "Deliver what is owed to the sinks.",
    "pending": "List what is not delivered, and why, and when next.",
    "show": "Tell one turn's life at every sink.",
    "retry": "Send turns again that are dead, delivered or skipped.",
    "skip": "Do not send these turns.",
    "replay": "Rebuild the state from the log alone, also of the past.",
    "verify": "Check every checksum, seq and law.",
    "stats": "Count turns, requests and failures.",
    "tail": "Print events, also as they come.",
    "sinks": "List sinks and how they are; pause, resume, retire one.",
    "sources": "List sources, what was read of them, and their quarantine; add, remove one.",
    "watch": "Record what is said as it is said, until Ctrl-C.",
    "conversations": "List conversations.",
    "export": "Print turns as Markdown or JSON Lines.",
    "redact": "Show which secrets would not be sent.",
    "daemon": "Run sources and delivery as one background service.",
    "serve": "Receive batches over HTTP and keep them in SQLite.",
    "config": "Validate the configuration.",
    "doctor": "Find out what is wrong with this installation, and how to mend it.",
}
"""Every command with the first line of its help, which a test compares with the command's own."""


@click.command(
    cls=LazyGroup,
    known=COMMANDS,
    package="turnlog.cli.commands",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--dir", "directory", metavar="DIR", help="The log's folder. [default: $TURNLOG_DIR, or the platform's]")
@click.option("--config", "config_path", metavar="FILE", help="The configuration. [default: DIR/turnlog.toml]")
@click.version_option(package_name="turnlog", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, directory: str | None, config_path: str | None) -> None:
    """Record every turn of every AI conversation once, and deliver it to memory backends.

    Exit codes: 0 fine; 1 done, but something needs attention; 2 wrong usage; 75 another process is at it; 78
    configuration.
    """
    from turnlog.cli.app import App  # not for --help

    ctx.obj = App(directory, config_path)


def main(arguments: list[str] | None = None) -> None:
    """The console script."""
    _mend_streams()
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:  # told already; what is left must not fail once more when the interpreter ends
        _discard_stdout()
    sys.exit(code)


def _discard_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mend_streams() -> None:
    """Streams that are closed lead nowhere; characters that an encoding cannot hold are spelled out."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - open as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code, after telling on stderr what went wrong."""
    try:
        result: Any = cli.main(args=arguments, prog_name="turnlog", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("turnlog: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `turnlog tail | head`: whoever read has gone
        _discard_stdout()
        return 1
    except ImportError:
        if not _tell_clash():
            raise
        return 78
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        from turnlog.cli.app import say  # not for --help

        say(_sentence(error))
        return code


def _tell_clash() -> bool:
    """Say which of our import names is somebody else's here, if one is."""
    from turnlog.doctor.installation import told_clash  # not for what goes well

    sentence = told_clash()
    if sentence is not None:
        print(f"turnlog: {sentence}", file=sys.stderr)
    return sentence is not None


def _show(error: click.ClickException) -> None:
    """One sentence, as of every other error; only a group without a command shows its help."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return
    hint = f" (see `{context.command_path} --help`)" if context else ""
    from turnlog.cli.app import say  # not for --help

    message = error.format_message().rstrip(".")
    say(f"{message[:1].lower()}{message[1:]}{hint}")


def _sentence(error: Exception) -> str:
    """What an error says; the system's own errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that is not a bug."""
    from eventlog import EventLogError, InvalidEvent  # not for --help
    from turnlog.errors import TurnlogError

    if isinstance(error, TurnlogError):
        return error.exit_code
    if isinstance(error, InvalidEvent):
        return 2
    if isinstance(error, EventLogError | OSError):
        return 1
    return None
