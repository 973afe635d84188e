"""Following a mailbox: a thread that stays connected, and begins again after each failure.

The thread only fetches; what it brings waits in a short queue, so that a slow disk slows the fetching down, and is
recorded by whoever calls `take`. A connection that fails is tried again after a second, then after twice as long each
time, up to five minutes; where the server refuses (a wrong password locks accounts) after five minutes at once.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import structs

from eventlog import NoticeRaised
from turnlog.errors import TurnlogError
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk, Unreadable
from turnlog.sources.importing import ImportCounts, take_in
from turnlog.sources.mailbox import CURSOR_STEP, Mailbox, Parcel
from turnlog.sources.mailbox_attachments import import_attached
from turnlog.sources.mailbox_server import MailboxFailed, Session
from turnlog.sources.prepared import prepare_chunk

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 300.0
_QUEUE_MAX = 4
_CLOSE_SECONDS = 10.0


class MailboxFeed:
    """A `Feed` of one mailbox. To be started once."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self._parcels: queue.Queue[Parcel] = queue.Queue(_QUEUE_MAX)
        self._waiting: Parcel | None = None  # taken from the queue and not recorded yet
        self._sentences: deque[str] = deque(maxlen=100)
        self._stopped = threading.Event()
        self._tell: Callable[[], None] = lambda: None
        self._session: Session | None = None
        self._cursor: Any = None  # as far as was fetched
        self._saved: Any = None  # as far as was recorded
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name=f"turnlog {mailbox.stream}", daemon=True)

    def start(self, recorder: TurnRecorder, tell: Callable[[], None]) -> None:
        """See `Feed.start`."""
        with recorder.index.locked():
            recorder.index.refresh()
            self._cursor = self._saved = recorder.index.cursor(self.mailbox.name, self.mailbox.stream)
        self._tell = tell
        self._thread.start()

    def take(self, recorder: TurnRecorder, say: Callable[[str], None]) -> ImportCounts:
        """See `Feed.take`. What could not be recorded is when it is called again."""
        counts = ImportCounts()
        while self._sentences:
            say(self._sentences.popleft())
        while True:
            try:
                self._waiting = self._waiting or self._parcels.get_nowait()
            except queue.Empty:
                return counts
            counts.add(record_parcel(recorder, self.mailbox, self._waiting, say))
            self._waiting = None

    def close(self) -> None:
        """See `Feed.close`."""
        self._stopped.set()
        if session := self._session:
            session.abort()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        delay = RETRY_SECONDS
        while not self._stopped.is_set():
            try:
                with self.mailbox.open() as self._session:
                    while not self._stopped.is_set():
                        self._fetch(self._session)
                        self._say("")
                        delay = RETRY_SECONDS
                        self._session.wait(self._stopped, self.mailbox.options.poll_seconds)
            except TurnlogError as error:
                refused = not isinstance(error, MailboxFailed) or error.refused
                delay = self._pause(error, RETRY_SECONDS_MAX if refused else delay)
            except Exception as error:  # noqa: BLE001 - a thread that died would be silent for ever
                delay = self._pause(error, delay)
            finally:
                self._session = None

    def _pause(self, error: Exception, seconds: float) -> float:
        """Say what went wrong and wait; returns how long to wait the next time."""
        if not self._stopped.is_set():
            self._say(str(error) or type(error).__name__)
            self._stopped.wait(seconds)
        return min(seconds * 2, RETRY_SECONDS_MAX)

    def _say(self, problem: str) -> None:
        """Say a problem, or that there is none any more, when that is news."""
        if problem != self._problem:
            self._sentences.append(problem or f"{self.mailbox.place} can be read again")
            self._problem = problem
            self._tell()

    def _fetch(self, session: Session) -> None:
        for parcel in self.mailbox.read(session, self._cursor):
            cursor = parcel.chunk.cursor
            if parcel.chunk.notes or parcel.chunk.unreadable or parcel.attachments or self._is_far(cursor):
                self._put(parcel)
                self._saved = cursor
            self._cursor = cursor

    def _is_far(self, cursor: Any) -> bool:
        """Whether a cursor is worth an event of its own: each mail moves it, and most do not matter."""
        saved = self._saved
        return not saved or saved["validity"] != cursor["validity"] or cursor["uid"] >= saved["uid"] + CURSOR_STEP

    def _put(self, parcel: Parcel) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._parcels.put(parcel, timeout=1)
                self._tell()
                return


def read_once(recorder: TurnRecorder, mailbox: Mailbox, say: Callable[[str], None]) -> ImportCounts:
    """Record everything that came since the log's cursor. Raises MailboxFailed, AppendFailed."""
    counts = ImportCounts()
    with recorder.index.locked():
        recorder.index.refresh()
        cursor = recorder.index.cursor(mailbox.name, mailbox.stream)
    with mailbox.open() as session:
        for parcel in mailbox.read(session, cursor):
            counts.add(record_parcel(recorder, mailbox, parcel, say))
    return counts


def record_parcel(recorder: TurnRecorder, mailbox: Mailbox, parcel: Parcel, say: Callable[[str], None]) -> ImportCounts:
    """Record what came of some mails: the attached exports first, so that a cursor is never ahead of them."""
    counts, problems = import_attached(recorder, parcel.attachments, mailbox.importing)
    chunk = parcel.chunk
    position = f"UID {chunk.cursor['uid']}"
    unreadable = [Unreadable(position, problem, problem.encode()) for problem in problems]
    for program in _news(recorder, chunk):
        say(f"an export of {program} can be downloaded for a while; `turnlog sources` shows where")
    taken = structs.replace(chunk, unreadable=(*chunk.unreadable, *unreadable))
    take_in(recorder, mailbox, mailbox.stream, prepare_chunk(taken), counts, last=True)
    recorder.sync()
    return counts


def _news(recorder: TurnRecorder, chunk: Chunk) -> list[str]:
    """The programs of the notices that were never raised."""
    notices = [note for note in chunk.notes if isinstance(note, NoticeRaised)]
    with recorder.index.locked():
        recorder.index.refresh()
        return [notice.program for notice in notices if recorder.index.is_news(notice)]
