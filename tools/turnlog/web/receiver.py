"""The HTTP receiver: takes batches of conversations and stores them; the counterpart of the sink `batch`.

::

    POST /internal/v1/sync/batch   {"source_type", "conversations": [...]}  ->  200 {"success": true, counts}
    GET  /api/v1/health            200 {"status": "ok", "conversations": n, "messages": n}

Whatever goes wrong is answered with {"success": false, "error": SENTENCE}: 400 for what is not JSON, 401 without the
token, 403 for a request that a web page of somewhere else could have made (only where there is no token), 404, 405,
413 over BODY_BYTES_MAX, 422 for JSON of the wrong shape or at odds with what is stored, 503 while the store cannot be
used. The token is looked at before the body is read.
"""

import asyncio
import hmac
import logging
import re
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import Guard

from turnlog.errors import WrongUsage
from turnlog.web.store import BatchError, Store, parse

BATCH_PATH = "/internal/v1/sync/batch"
HEALTH_PATH = "/api/v1/health"

BODY_BYTES_MAX = 32 * 1024 * 1024
"""A larger request is answered with 413."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than a sender pauses between batches, or it would find it closed."""

SHUTDOWN_SECONDS = 5
"""How long requests in flight may take to finish once the server was told to stop."""

_BACKLOG = 2048
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@]+)(?::[0-9]*)?")
_SENTENCES = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
    413: f"the body is larger than {BODY_BYTES_MAX // 1024**2} MiB",
}
_log = logging.getLogger(__name__)

_Request = Request[Any, Any, Any]
_Answer = Response[dict[str, Any]]
_Connection = ASGIConnection[Any, Any, Any, Any]


class ReceiverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, whom to believe and where to store. Port 0 is any free one; the token is text, never shown."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None
    store: Path

    def __repr__(self) -> str:
        token = None if self.token is None else "***"
        return f"ReceiverOptions(host={self.host!r}, port={self.port}, token={token}, store={self.store!r})"


def create_app(store: Store, token: str | None) -> Litestar:
    """The application on an open store. Raises WrongUsage for a token that no header could carry."""
    secret = None if token is None else _token_bytes(token)
    return Litestar(
        route_handlers=[_batch_handler(store, secret), _health_handler(store, secret)],
        guards=[_refuse_elsewhere] if secret is None else [],
        exception_handlers={
            HTTPException: _answer_http,
            sqlite3.Error: _answer_unavailable,
            Exception: _answer_bug,
        },
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
        debug=False,  # else an environment variable could turn on pages with tracebacks
    )


def serve(options: ReceiverOptions, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and return.

    `ready` is called with the base URL, such as `http://127.0.0.1:41234`, once connections are accepted. Raises
    WrongUsage if the address cannot be had, the store cannot be opened, the token is unusable, or if it would listen
    to other machines without one.
    """
    with _listen(options) as listener, closing(Store(options.store)) as store:
        server = uvicorn.Server(_server_config(create_app(store, options.token)))
        with _stop_on_signals(server):
            ready(_url(listener))
            server.run(sockets=[listener])


def _server_config(app: Litestar) -> uvicorn.Config:
    # The protocol and the loop are named, so that limits and answers do not depend on what else is installed.
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


@contextmanager
def _stop_on_signals(server: uvicorn.Server) -> Iterator[None]:
    # uvicorn raises the signal again when it is done, which would end the process before the store is closed, and does
    # not listen before it has started: until then and from then on these handlers take it.
    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (the signature of a handler)
        server.should_exit = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(options: ReceiverOptions) -> socket.socket:
    if not 0 <= options.port <= 65535:
        raise WrongUsage(f"there is no port {options.port}: ports go from 0 to 65535")
    family, address = _resolve(options.host, options.port)
    if options.token is None and not _is_loopback(address[0]):
        raise WrongUsage(
            f"the receiver refuses to listen elsewhere without a token: {options.host} is not a loopback address"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # The connections of a server that just ended keep its port for a minute otherwise.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # at once: until then somebody else could still bind the same port
    except OSError as error:
        listener.close()
        raise WrongUsage(
            f"cannot listen on port {options.port} of {options.host}: {error.strerror}; choose another port or host"
        ) from error
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be encoded
        raise WrongUsage(f"cannot listen on host {host!r}: it is neither an address nor a known name") from error
    family, _, _, _, address = found[0]
    return family, address


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token_bytes(token: str) -> bytes:
    if not token or not token.isprintable() or token != token.strip():
        raise WrongUsage("the token is empty, or has line breaks, or spaces around it: no request could carry it")
    return token.encode()


def _batch_handler(store: Store, secret: bytes | None) -> HTTPRouteHandler:
    def take(body: bytes) -> dict[str, Any]:
        return {"success": True, **msgspec.structs.asdict(store.upsert(parse(body)))}

    @post(BATCH_PATH, status_code=200, guards=[_token_guard(secret, required=True)])
    async def sync_batch(request: _Request) -> dict[str, Any]:
        body = await _body(request)
        try:
            return await sync_to_thread(take, body)
        except (msgspec.ValidationError, BatchError) as error:  # before DecodeError, whose child the first one is
            raise HTTPException(f"the body cannot be taken: {error}", status_code=422) from error
        except msgspec.DecodeError as error:
            raise HTTPException(f"the body is not JSON: {error}", status_code=400) from error

    return sync_batch


async def _body(request: _Request) -> bytes:
    try:
        return await request.body()
    except asyncio.CancelledError:  # the server waited for the rest in vain; an answer, for nothing was stored
        raise HTTPException("the receiver is stopping; send this again", status_code=503) from None


def _health_handler(store: Store, secret: bytes | None) -> HTTPRouteHandler:
    @get(HEALTH_PATH, sync_to_thread=True, guards=[_token_guard(secret, required=False)])
    def health() -> dict[str, Any]:
        return {"status": "ok", **msgspec.structs.asdict(store.counts())}

    return health


def _token_guard(secret: bytes | None, *, required: bool) -> Guard:
    """A guard that lets the right token pass, and no token at all where it is not required."""

    async def check(connection: _Connection, handler: BaseRouteHandler) -> None:  # noqa: ARG001  (a guard's signature)
        given = _headers(connection, b"authorization")
        if secret is None or (not given and not required):
            return
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        # Bytes, because compare_digest raises for text that is not ASCII.
        if scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), secret):
            return
        sentence = "the token is wrong" if given else "a token is needed, in the header `Authorization: Bearer TOKEN`"
        raise HTTPException(sentence, status_code=401, headers={"WWW-Authenticate": "Bearer"})

    return check


async def _refuse_elsewhere(connection: _Connection, handler: BaseRouteHandler) -> None:  # noqa: ARG001  (the same)
    """Without a token, keep out web pages: under a name that was made to point here, or posting across origins."""
    hosts = _headers(connection, b"host")
    if len(hosts) != 1 or not _names_loopback(hosts[0].decode("latin-1")):
        raise HTTPException("the Host header names no loopback address; elsewhere needs a token", status_code=403)
    origins = [origin.decode("latin-1").partition("://")[2] for origin in _headers(connection, b"origin")]
    if not all(_names_loopback(origin) for origin in origins):
        raise HTTPException("a web page of another origin may not do this without a token", status_code=403)


def _headers(connection: _Connection, name: bytes) -> Sequence[bytes]:
    return [value for key, value in connection.scope["headers"] if key.lower() == name]


def _names_loopback(host: str) -> bool:
    """Whether `host`, with or without a port, is localhost or a loopback address (IPv6 in brackets)."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower()
    return name == "localhost" or _is_loopback(name.strip("[]"))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _answer_http(request: _Request, error: HTTPException) -> _Answer:  # noqa: ARG001  (an exception handler's signature)
    sentence = _SENTENCES.get(error.status_code, error.detail)  # litestar's own details are no sentences
    return _error(error.status_code, sentence, error.headers)


def _answer_unavailable(request: _Request, error: sqlite3.Error) -> _Answer:  # noqa: ARG001  (the same)
    _log.warning("the store cannot be used at the moment: %s", error)
    return _error(503, f"the store cannot be used at the moment: {error}")


def _answer_bug(request: _Request, error: Exception) -> _Answer:  # noqa: ARG001  (the same)
    _log.error("a request failed", exc_info=error)
    return _error(500, "the receiver failed at this request; its log says why")


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> _Answer:
    return Response({"success": False, "error": sentence}, status_code=status, headers=headers)
