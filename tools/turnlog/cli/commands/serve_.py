"""`turnlog serve`: the receiver."""

import sys
from pathlib import Path

import click

from eventlog.files import Files
from turnlog.cli.app import App, pass_app, say
from turnlog.errors import TurnlogError, WrongUsage


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; elsewhere only with a token.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the token senders must have.")
@click.option("--store", type=click.Path(path_type=Path), help="The SQLite file.  [default: DIR/receiver.sqlite]")
@pass_app
def command(app: App, host: str, port: int, token_file: Path | None, store: Path | None) -> None:
    """Receive batches over HTTP and keep them in SQLite.

    Prints the address when it listens, and serves until Ctrl-C or SIGTERM. POST /internal/v1/sync/batch,
    GET /api/v1/health.
    """
    try:
        from turnlog.web.receiver import ReceiverOptions, serve
    except ImportError as error:
        raise TurnlogError(f"the receiver needs the extra `serve` ({error}); pip install 'turnlog[serve]'") from error
    if store is None:
        store = app.directory / "receiver.sqlite"
        Files().make_folder(store.parent)
    options = ReceiverOptions(host=host, port=port, token=_token(token_file), store=store)
    serve(options, ready=_announce)


def _announce(url: str) -> None:
    print(url)
    sys.stdout.flush()
    say(f"listening on {url}; Ctrl-C ends")


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"the token file {path} cannot be read: {error}") from error
    if not token:
        raise WrongUsage(f"the token file {path} is empty; write the token into it")
    return token
