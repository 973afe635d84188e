"""The source `mailbox`: mails that announce exports, and exports that are attached to mails.

ChatGPT and Claude announce an export by a mail with a link that only the signed-in person can open, for 24 hours. Such
a mail becomes a NoticeRaised, once, and nobody but the person opens the link. An export that is attached is taken in as
if the file had been imported. How a mailbox is read:

1. The server searches the senders that matter: those of the programs, and those from whom attached exports are taken
   (by default the mailbox's own address). Of a mailbox of any size no other mail is ever fetched.
2. The cursor is `{"validity", "uid"}` (UIDVALIDITY, and the last UID that was looked at). The first time, and when the
   server numbers its mails anew, it is the mails of the last `since_days`; what was known by then is not taken twice.
3. Anybody can write anything into a mail. A sender counts unless the server that received the mail says that it is
   forged (see `mailbox_letters.is_authentic`); a link counts only if it leads to the program's own hosts.
4. A mail that cannot be read, or is too large, costs one LineQuarantined with its header; the rest goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from msgspec import Struct

from eventlog import NoticeRaised
from turnlog.clock import Clock
from turnlog.config import as_path
from turnlog.secrets import SecretRef
from turnlog.sources.base import Chunk, SourceOptions, Unreadable
from turnlog.sources.mailbox_announcements import ANNOUNCERS, announcement, announcer, is_announcement
from turnlog.sources.mailbox_letters import Attachment, Envelope, Sender, read_contents, read_envelope
from turnlog.sources.mailbox_server import HEADER_BYTES_MAX, Head, Place, Session, connect
from turnlog.sources.objects import CannotRead

ANNOUNCEMENT_BYTES_MAX = 2 * 1024 * 1024
CURSOR_STEP = 500
"""A cursor is written down with what was found, and where nothing was, after so many mails."""


class MailboxOptions(Struct, frozen=True, kw_only=True):
    """What a `[[sources]]` table of type `mailbox` says: `user` logs in, `owner` is whose turns attached exports hold.

    `attachments_from` are addresses; None is the user's own, and none at all leaves all attachments out.
    """

    host: str
    user: str
    password: SecretRef
    port: int = 993
    folder: str = "INBOX"
    ca_file: str | None = None
    owner: str | None = None
    attachments_from: tuple[str, ...] | None = None
    since_days: int = 30
    poll_seconds: float = 60.0
    message_bytes_max: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.host or not self.user or not self.folder:
            raise ValueError("host, user and folder must not be empty")
        if not 0 < self.port < 65536:
            raise ValueError("port must be from 1 to 65535")
        if not all(sender.isascii() and "@" in sender for sender in self.attachments_from or ()):
            raise ValueError("attachments_from must be addresses such as amy@example.com")
        if self.since_days < 0 or self.poll_seconds <= 0 or self.message_bytes_max <= 0:
            raise ValueError("since_days, poll_seconds and message_bytes_max must be above 0")


class Parcel(Struct, frozen=True):
    """What came of some mails: notices, what could not be read and the cursor in `chunk`, and attached files."""

    chunk: Chunk
    attachments: tuple[Attachment, ...] = ()


class Mailbox:
    """Reads one folder of one mailbox; `folder` is where relative paths in its options begin."""

    name: ClassVar[str] = "mailbox"
    global_ids: ClassVar[bool] = False

    def __init__(self, options: MailboxOptions, importing: SourceOptions, *, folder: Path, clock: Clock) -> None:
        self.options = options
        self.importing = importing
        self._folder = folder
        self._clock = clock
        ca_file = str(folder / as_path(options.ca_file)) if options.ca_file else None
        self.place = Place(options.host, options.port, options.user, options.folder, ca_file)
        own = (options.user,) if "@" in options.user and options.user.isascii() else ()
        givers = own if options.attachments_from is None else options.attachments_from
        self._givers = tuple(address.lower() for address in givers)

    @property
    def stream(self) -> str:
        """Its name in events, as RFC 5092 spells a folder."""
        user, folder = quote(self.options.user, safe=""), quote(self.options.folder, safe="/")
        return f"imap://{user}@{self.options.host}:{self.options.port}/{folder}"

    def open(self) -> AbstractContextManager[Session]:
        """A session with the server; the secret is looked up now. Raises MailboxFailed, ConfigError."""
        return connect(self.place, self.options.password.resolve(self._folder))

    def read(self, session: Session, cursor: Any = None) -> Iterator[Parcel]:
        """What came since `cursor` (None: in the last days), and in the end how far that was. Raises MailboxFailed."""
        validity, next_uid = session.extent()
        known = cursor["uid"] if cursor and cursor["validity"] == validity else None
        since = (self._clock.now() - timedelta(days=self.options.since_days)).date() if known is None else None
        last = known or 0
        domains = [domain for known in ANNOUNCERS.values() for domain in known.domains]
        for uid in session.search([*domains, *self._givers], from_uid=last + 1, since=since):
            last = uid
            yield from self._parcels(session, uid, {"validity": validity, "uid": uid})
        yield _parcel({"validity": validity, "uid": max(last, next_uid - 1)})

    def _parcels(self, session: Session, uid: int, cursor: dict[str, int]) -> Iterator[Parcel]:
        head = session.head(uid)
        if head is None:
            return
        try:
            envelope = read_envelope(head.header)
            wanted = self._bytes_wanted(envelope, head)
            raw = session.content(uid, wanted) if wanted else None
            if raw is not None:
                yield self._taken_apart(envelope, head, raw, cursor)
        except CannotRead as error:
            yield _parcel(cursor, unreadable=(Unreadable(f"UID {uid}", str(error), head.header),))

    def _bytes_wanted(self, envelope: Envelope, head: Head) -> int:
        """How much of a mail is to be fetched; nothing of one that does not matter. Raises CannotRead."""
        if len(head.header) >= HEADER_BYTES_MAX and self._matters(envelope):
            raise CannotRead(f"its header has {HEADER_BYTES_MAX} bytes or more")
        if self._gives(envelope.sender):
            if head.size_bytes > self.options.message_bytes_max:
                raise CannotRead(
                    f"it has {head.size_bytes} bytes, and message_bytes_max is {self.options.message_bytes_max}"
                )
            return self.options.message_bytes_max
        return ANNOUNCEMENT_BYTES_MAX if is_announcement(envelope) else 0

    def _matters(self, envelope: Envelope) -> bool:
        return self._gives(envelope.sender) or is_announcement(envelope)

    def _gives(self, sender: Sender) -> bool:
        """Whether exports are taken from a sender: from those named, and from the programs where that is proven."""
        if sender.address in self._givers:
            return sender.authentic is not False
        return announcer(sender) is not None and sender.authentic is True

    def _taken_apart(self, envelope: Envelope, head: Head, raw: bytes, cursor: dict[str, int]) -> Parcel:
        links, attachments = read_contents(raw)
        notice = announcement(envelope, links, received_at=head.received_at)
        named = [Attachment(f"{envelope.name}/{name}", content) for name, content in attachments]
        return _parcel(
            cursor,
            notices=(notice,) if notice else (),
            attachments=tuple(named) if self._gives(envelope.sender) else (),
        )


def _parcel(
    cursor: dict[str, int],
    *,
    notices: Sequence[NoticeRaised] = (),
    unreadable: Sequence[Unreadable] = (),
    attachments: tuple[Attachment, ...] = (),
) -> Parcel:
    chunk = Chunk((), tuple(unreadable), cursor, str(cursor["validity"]), 0, tuple(notices))
    return Parcel(chunk, attachments)
