"""`turnlog demo`: the main job on an embedded receiver."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from turnlog.cli.demo import Demo, Proof
from turnlog.cli.output import is_terminal, print_table
from turnlog.errors import WrongUsage


@click.command("demo")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Use this folder, and leave it to look at."
)
def command(keep: Path | None) -> int:
    """Show the main job on an embedded receiver.

    Imports a sample of an assistant's old file, delivers it to a receiver that is killed half way and started again,
    and tells what happened to every turn. Ends 0 if none was lost and none is there twice.
    """
    with ExitStack() as stack:
        if keep is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turnlog-demo-")))
        elif keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise WrongUsage(f"{keep} is there already; name a folder that does not exist or is empty")
        else:
            directory = keep
        demo = Demo(directory)
        stack.callback(demo.receiver.kill)
        proof = _run(demo)
        if keep is not None:
            click.echo(f"\nto look at it: turnlog --dir {keep} show 3, stats, tail, verify, replay --until 60")
        return 0 if proof.holds else 1


def _run(demo: Demo) -> Proof:
    demo.prepare()
    click.echo(f"1. A receiver listens on {demo.receiver.url}, as a process of its own.")
    counts = demo.import_sample()
    click.echo(
        f"2. An old file is imported: {counts.recorded} turns recorded, {counts.quarantined} line could not be read "
        "and is in quarantine."
    )
    again = demo.import_sample()
    click.echo(f"   Imported once more: {again.recorded} recorded, {again.unchanged} known.")
    owed = demo.owed()
    with _bar(owed) as (progress, tell):
        tell(f"3. {owed} turns are owed; the others had been delivered by the old scripts. Delivering ...")
        demo.deliver(progress, kill_after=owed // 2)
        pending = demo.pending()
        tell(f"   The receiver was killed after {owed - pending} turns. {pending} wait, and none is blamed.")
        demo.receiver.start()
        result = demo.deliver(progress)
    click.echo(f"4. The receiver is back: {result.counts.delivered} more delivered, {demo.pending()} left.\n")
    _print_turns(demo)
    proof = demo.prove()
    click.echo(
        f"\nCounted at the receiver: {proof.stored} messages, {proof.owed} owed, {proof.missing} missing, "
        f"{proof.surplus} too many."
    )
    click.echo("None lost, none twice." if proof.holds else "SOMETHING IS WRONG: see above.")
    return proof


def _print_turns(demo: Demo) -> None:
    rows = [(s.seq, _short(s.said), s.state, s.requests, s.happened) for s in demo.stories()]
    print_table(("seq", "the user said", "state", "requests", "what happened"), rows)


def _short(text: str, length: int = 32) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


@contextmanager
def _bar(turns: int) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A progress bar and a way to talk above it on a terminal; on a pipe there is no bar."""
    if not is_terminal():
        yield lambda _: None, click.echo
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(highlight=False), transient=True) as bar:
        task = bar.add_task("delivering", total=turns)
        yield lambda delivered: bar.advance(task, delivered), bar.console.print
