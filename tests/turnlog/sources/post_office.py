"""A real IMAP server (pymap) on loopback with TLS, for a mailbox that lives in memory; and mails to put into it."""

import asyncio
import ssl
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from imapclient import IMAPClient
from proxyprotocol.noop import ProxyProtocolNoop
from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import Config, DictBackend, Login
from pymap.config import BackendCapability
from pymap.imap import IMAPServer
from pysasl.hashing import Cleartext

USER = "amy@example.com"
PASSWORD = "correct horse"
HOST = "localhost"
DEADLINE_SECONDS = 20
READY = "ChatGPT - Your data export is ready"
LINK = "https://chatgpt.com/backend-api/estuary/content?id=file-1&sig=abc"
PASSED = "mx.example.com; dkim=pass header.d=tm.openai.com; dmarc=pass header.from=tm.openai.com"


def mail(
    sender: str = "OpenAI <noreply@tm.openai.com>",
    subject: str = READY,
    *,
    html: str | None = f'<p>Hi</p><a href="{LINK}">Download data export</a>',
    text: str = "see the HTML",
    results: str | None = PASSED,
    name: str | None = "<1@tm.openai.com>",
    files: dict[str, bytes] | None = None,
) -> bytes:
    """A mail; by default ChatGPT's that announces an export."""
    made = EmailMessage()
    if results is not None:
        made["Authentication-Results"] = results
    made["From"], made["To"], made["Subject"] = sender, USER, subject
    if name is not None:
        made["Message-ID"] = name
    made.set_content(text)
    if html is not None:
        made.add_alternative(html, subtype="html")
    for file, content in (files or {}).items():
        made.add_attachment(content, maintype="application", subtype="octet-stream", filename=file)
    return made.as_bytes()


class _Deaf(Config):
    """A server that does not offer IDLE."""

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=False, object_id=True, multi_append=True)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Break a connection off; one that is over already has nothing left to abort (an error in the first 3.11)."""
    with suppress(AttributeError):
        writer.transport.abort()


class PostOffice:
    """The server; with `implicit` False it waits for STARTTLS."""

    def __init__(self, folder: Path, *, implicit: bool = True, idle: bool = True) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST)
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._implicit = implicit
        self._config = Config if idle else _Deaf
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(DEADLINE_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, suppress(asyncio.CancelledError):
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._task = asyncio.current_task()
        arguments = Namespace(
            host=None, port=0, cert=None, key=None, tls=True, proxy_protocol=None, debug=False, demo_data=False,
            demo_user=USER, demo_password=PASSWORD, inherited_sockets=None, passlib_cfg=None,
        )  # fmt: skip
        config = self._config.from_args(
            arguments, ssl_context=self._tls, hash_context=Cleartext(), invalid_user_sleep=0
        )
        login = Login(config)
        await DictBackend._add_demo_user(config, login)
        config.apply_context()
        serve = ProxyProtocolReader(ProxyProtocolNoop()).get_callback(IMAPServer(login, config))

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            self._writers.append(writer)
            with suppress(ConnectionError, EOFError, asyncio.CancelledError):
                await serve(reader, writer)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=self._tls if self._implicit else None)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            async with server:
                await server.serve_forever()
        finally:
            for writer in self._writers:
                _abort(writer)
                with suppress(OSError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), DEADLINE_SECONDS)

    def drop(self) -> None:
        """Break all connections off."""

        def abort() -> None:
            for writer in self._writers:
                _abort(writer)

        self._loop.call_soon_threadsafe(abort)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Another program of the mailbox's owner."""
        context = ssl.create_default_context(cafile=self.ca_file)
        with IMAPClient(HOST, self.port, ssl=self._implicit, ssl_context=context, timeout=DEADLINE_SECONDS) as client:
            if not self._implicit:
                client.starttls(context)
            client.login(USER, PASSWORD)
            yield client

    def deliver(self, *mails: bytes, folder: str = "INBOX", at: datetime | None = None) -> None:
        with self.client() as client:
            for raw in mails:
                client.append(folder, raw, msg_time=at)

    def flags(self) -> dict[int, tuple[bytes, ...]]:
        """The flags of each mail."""
        with self.client() as client:
            client.select_folder("INBOX", readonly=True)
            return {uid: told[b"FLAGS"] for uid, told in client.fetch(client.search(), ["FLAGS"]).items()}


@contextmanager
def post_office(folder: Path, **options: bool) -> Iterator[PostOffice]:
    office = PostOffice(folder, **options)
    try:
        yield office
    finally:
        office.close()
