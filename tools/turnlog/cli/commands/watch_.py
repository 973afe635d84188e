"""`turnlog watch`: follow sources."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.clock import SystemClock
from turnlog.errors import WrongUsage
from turnlog.sources.configured import configured_sources
from turnlog.sources.following import News, follow
from turnlog.sources.mailboxes import configured_mailboxes, feeds_of
from turnlog.sources.watching import Watcher, fetching


@click.command("watch")
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@json_option
@pass_app
def command(app: App, sources: tuple[str, ...], as_json: bool) -> int:
    """Record what is said as it is said, until Ctrl-C.

    SOURCE is one of those that `turnlog import` knows, which is then looked for where its program keeps its files, or
    mailbox; without any, all that are configured are watched. A turn is recorded when the next one begins, or when it
    has been quiet for a while.
    """
    watched = configured_sources(app.config, sources, os.environ)
    mailboxes = configured_mailboxes(app.config, sources, os.environ)
    if not watched and not mailboxes:
        raise WrongUsage("no source is configured; name one, such as `turnlog watch claude_code`")
    feeds, news, clock = feeds_of(mailboxes), News(), SystemClock()
    with app.recorder() as recorder, _stopped_by_signals(news), fetching(feeds, recorder, news.tell):
        watcher = Watcher(recorder, watched, feeds=feeds, clock=clock, say=say)
        for one in watched:
            say(f"watching {one.source.name} in {', '.join(map(str, one.paths))}")
        for mailbox in mailboxes:
            say(f"watching {mailbox.place}, folder {mailbox.place.folder}")
        follow(watched, watcher, news, clock=clock, say=say)
    if as_json:
        print_json(watcher.counts)
    else:
        counts = watcher.counts
        print(f"recorded {counts.recorded}, revised {counts.revised}, quarantined {counts.quarantined}")
    return 0


@contextmanager
def _stopped_by_signals(news: News) -> Iterator[None]:
    """Stop at Ctrl-C and SIGTERM."""
    before = {number: signal.signal(number, news.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
