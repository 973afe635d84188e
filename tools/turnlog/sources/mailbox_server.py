"""A folder of a mailbox, over IMAP (RFC 3501) and TLS, read and never changed.

The folder is opened with EXAMINE and mails are fetched with BODY.PEEK, so that not even a mail's being seen changes.
Where the server offers IDLE (RFC 2177) it tells of new mails; elsewhere it is asked now and then. Of each mail the
header is fetched first, and no more of anything than a limit, whatever size the server claims. imapclient does the
protocol.
"""

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import reduce
from socket import SHUT_RDWR, gaierror
from typing import Any, NamedTuple

from msgspec import Struct

from turnlog.clock import as_utc
from turnlog.errors import TurnlogError

TIMEOUT_SECONDS = 30.0
IDLE_SECONDS = 300.0
"""After so long the folder is looked at anyway: connections die silently, and IDLE is no promise."""

IDLE_SECONDS_MIN = 3.0
"""The same, when mails have just come: what is told with the answer to IDLE is not heard, and mails come in flocks."""

HEADER_BYTES_MAX = 64 * 1024
_STARTTLS_PORT = 143


class MailboxFailed(TurnlogError):
    """A mailbox cannot be read; `refused` says that trying again will not help until something is changed."""

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        super().__init__(sentence)
        self.refused = refused


class Place(Struct, frozen=True):
    """Where a folder is: port 143 speaks TLS after STARTTLS, any other from the beginning."""

    host: str
    port: int
    user: str
    folder: str
    ca_file: str | None = None

    def __str__(self) -> str:
        return f"the mailbox of {self.user} at {self.host}"


class Extent(NamedTuple):
    """A folder's numbering: UIDs mean something under one `validity` alone, and are below `next_uid` so far."""

    validity: int
    next_uid: int


class Head(NamedTuple):
    """What is fetched first of a mail."""

    header: bytes
    size_bytes: int
    received_at: datetime


class Session:
    """A connection on which a folder is open. Every method raises MailboxFailed; `abort` is for other threads."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place = place
        self._client = client
        self._idles = client.has_capability("IDLE")
        self._extent: Extent | None = None
        self._quiet: Extent | None = None  # what it was when IDLE began the last time

    def extent(self) -> Extent:
        """How far the folder goes by now; opens it anew, to read only."""
        with _told(self._place):
            told = self._client.select_folder(self._place.folder, readonly=True)
        validity, next_uid = told.get(b"UIDVALIDITY"), told.get(b"UIDNEXT")
        if validity is None or next_uid is None:
            raise MailboxFailed(
                f"{self._place} does not number its mails, so none can be told from another", refused=True
            )
        self._extent = Extent(int(validity), int(next_uid))
        return self._extent

    def search(self, senders: Sequence[str], *, from_uid: int, since: date | None) -> list[int]:
        """The UIDs, in order, of mails with one of these texts in their sender; the server does the searching."""
        anyone: list[Any] = reduce(
            lambda rest, sender: ["OR", "FROM", sender, *rest], senders[1:], ["FROM", senders[0]]
        )
        wanted = ["UID", f"{from_uid}:*", *(["SINCE", since] if since else []), *anyone]
        with _told(self._place):
            found = self._client.search(wanted)
        return sorted(uid for uid in found if uid >= from_uid)  # `7:*` names the last mail even if that is number 6

    def head(self, uid: int) -> Head | None:
        """The header of a mail, its size, and when the server got it; None if it is gone."""
        items = [f"BODY.PEEK[HEADER]<0.{HEADER_BYTES_MAX}>", "RFC822.SIZE", "INTERNALDATE"]
        told = self._fetch(uid, items)
        header = told.get(b"BODY[HEADER]<0>")
        if header is None:
            return None
        received_at = told.get(b"INTERNALDATE") or datetime.now(UTC)
        return Head(bytes(header), int(told.get(b"RFC822.SIZE", 0)), as_utc(received_at))

    def content(self, uid: int, bytes_max: int) -> bytes | None:
        """The first bytes of a mail, as many as asked for at most; None if it is gone."""
        found = self._fetch(uid, [f"BODY.PEEK[]<0.{bytes_max}>"]).get(b"BODY[]<0>")
        return None if found is None else bytes(found)

    def _fetch(self, uid: int, items: list[str]) -> dict[bytes, Any]:
        with _told(self._place):
            found: dict[bytes, Any] = self._client.fetch([uid], items).get(uid, {})
        return found

    def wait(self, stopped: threading.Event, poll_seconds: float) -> None:
        """Until the server tells of mails, or for a while."""
        before = self._extent
        if not self._idles:
            stopped.wait(poll_seconds)
        elif self.extent() == before:  # else one came while the folder was looked through, and was told of then
            self._idle(IDLE_SECONDS if before == self._quiet else IDLE_SECONDS_MIN)
            self._quiet = before

    def _idle(self, seconds: float) -> None:
        with _told(self._place):
            self._client.idle()
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                told = self._client.idle_check(left)
                if not told or any(each[1:] == (b"EXISTS",) for each in told):  # nothing: time is over, or broken off
                    break
            self._client.idle_done()

    def abort(self) -> None:
        """Have whoever waits on the connection fail at once."""
        with suppress(OSError):
            self._client.socket().shutdown(SHUT_RDWR)


@contextmanager
def connect(place: Place, password: str) -> Iterator[Session]:
    """A session, logged in. Raises MailboxFailed with a sentence that says what to do."""
    try:
        from imapclient import IMAPClient
    except ImportError as error:
        raise MailboxFailed(
            "reading a mailbox needs the package imapclient (pip install 'turnlog[mail]')", refused=True
        ) from error
    implicit = place.port != _STARTTLS_PORT
    with _told(place):
        context = ssl.create_default_context(cafile=place.ca_file)
        client = IMAPClient(place.host, place.port, ssl=implicit, ssl_context=context, timeout=TIMEOUT_SECONDS)
    client.normalise_times = False  # times with their zone
    with client:
        with _told(place):
            if not implicit:
                client.starttls(context)
            client.login(place.user, password)
            if client.has_capability("ID"):
                client.id_({"name": "turnlog"})  # NetEase's servers open no folder for a program without a name
        yield Session(place, client)


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """What goes wrong on a connection as a sentence; a server's words are in it, a password never is."""
    from imapclient.exceptions import CapabilityError, IMAPClientAbortError, IMAPClientError, LoginError

    try:
        yield
    except LoginError as error:
        reason = f"refuses the login ({_words(error)}); check user and password - many providers want an app password"
        raise MailboxFailed(f"{place} {reason}", refused=True) from error
    except CapabilityError as error:
        raise MailboxFailed(f"{place} offers no TLS on port {place.port}; try port 993", refused=True) from error
    except IMAPClientAbortError as error:
        raise MailboxFailed(f"{place} broke the connection off: {_words(error)}") from error
    except IMAPClientError as error:
        raise MailboxFailed(f"{place}, folder {place.folder}: {_words(error)}") from error
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate is not to be trusted ({error.verify_message}); ca_file can name the authority"
        raise MailboxFailed(f"{place} cannot be read: {reason}", refused=True) from error
    except gaierror as error:
        raise MailboxFailed(f"{place} cannot be reached: there is no host {place.host} that can be found") from error
    except OSError as error:
        raise MailboxFailed(f"{place} cannot be reached: {error.strerror or error}") from error


def _words(error: Exception) -> str:
    """What a server said, on one line."""
    text = error.args[0] if error.args else ""
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return said.removeprefix("b'").removesuffix("'")[:200]
