"""HTTP as sinks need it: the environment decided once, every stage in its own time, a kind for whatever goes wrong.

requests knows best which proxy and which certificate authorities a user means, but a call through it costs more CPU
than all else that is done for a turn. So it is asked once, and the calls are made on the pool of urllib3 that it gives.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from ssl import SSLCertVerificationError
from threading import Lock
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from msgspec import Struct
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

from turnlog.clock import as_utc
from turnlog.sinks.base import Refused
from turnlog.sinks.connections import Progress, bound

RETRY_AFTER_MAX_SECONDS = 3600.0
"""A sink that asks for more patience than this gets this much, and the error says so."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A server that answers more than this is not listened to any further."""

_ANSWER_LENGTH_MAX = 200
_IDLE_CONNECTIONS_MAX = 64
_REJECTED = (400, 409, 413, 422)
_GATEWAY = (502, 504)
_BROKEN = (urllib3.exceptions.HTTPError, HTTPException, requests.RequestException, OSError, ValueError)


class Answer(Struct, frozen=True):
    """A reply with a 2xx status."""

    status: int
    body: bytes


class HttpClient:
    """Talks to one server, from any number of threads.

    `connect_seconds` are for connecting and the TLS handshake, `send_seconds` for sending a request, `read_seconds` for
    all of its answer. `idempotent` says that every request may be sent again. `credential` names where the token
    is, for the error that says that it is wrong. `headers` go with every request. `shown` is how errors call the server
    (by default the URL without its secrets), `hidden` are texts that no error tells, as it tells no token.

    Redirects are not followed, so that the token never goes to another host. Proxies and certificate authorities
    come from the environment as requests takes them.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        connect_seconds: float,
        read_seconds: float,
        idempotent: bool,
        send_seconds: float = 30.0,
        credential: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
        shown: str = "",
        hidden: Iterable[str] = (),
    ) -> None:
        self._url = base_url
        self._shown = shown or _without_secrets(base_url).rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._hidden = sorted({text for text in (token, *hidden) if text}, key=len, reverse=True)
        self._seconds = {"connect": connect_seconds, "send": send_seconds, "answer": read_seconds}
        self._idempotent = idempotent
        self._credential = credential
        self._progress = Progress()
        self._route: _Route | None = None
        self._routing = Lock()

    def request(
        self, method: str, path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer | Refused:
        """Make one request; `body` is JSON. Whatever does not end in a 2xx is a `Refused` of the right kind.

        `path` is put behind the base URL; if it is empty, that is used as it is.
        """
        self._progress.stage = "connect"
        try:
            status, answered, body = self._ask(method, path, body, headers)
        except _BROKEN as error:
            return self._broken(error, changes=method not in ("GET", "HEAD"))
        if 200 <= status < 300:
            return Answer(status, body)
        return self._refusal(status, answered, body)

    def quote(self, said: str) -> str:
        """What a server said, as it may be told: it ends in the log, where an echoed token has no place."""
        for secret in self._hidden:
            said = said.replace(secret, "[redacted]")
        return said[:_ANSWER_LENGTH_MAX]

    @property
    def credential_note(self) -> str:
        """Which token it is that is wrong, to be put behind what says so; empty where nothing is known of it."""
        return f"; the token is from {self._credential}" if self._credential else ""

    def close(self) -> None:
        """Close the connections."""
        if self._route is not None:
            self._route.pool.close()

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        route = self._route or self._find_route()
        response = route.pool.urlopen(
            method,
            route.target.rstrip("/") + path if path else route.target,
            body,
            {**route.headers, **headers} if headers else route.headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=self._seconds["connect"], read=self._seconds["answer"]),
        )
        try:
            answer = response.read(ANSWER_BYTES_MAX + 1, decode_content=True)
            if len(answer) > ANSWER_BYTES_MAX:
                raise _EndlessAnswer
            response.drain_conn()
            return response.status, response.headers, answer
        finally:
            response.release_conn()

    def _find_route(self) -> "_Route":
        with self._routing:
            if self._route is None:
                self._route = _find_route(self._url, self._headers)
                times = {"send_seconds": self._seconds["send"], "answer_seconds": self._seconds["answer"]}
                bound(self._route.pool, self._progress, **times)
            return self._route

    def _broken(self, error: Exception, *, changes: bool) -> Refused:
        """There is no answer. How far the request came decides between an outage and doubt."""
        stage = self._progress.stage
        late = _is_late(error)
        seconds = f"{self._seconds[stage]:g} s"
        if stage == "connect":
            reason = f"did not answer within {seconds}" if late else f"cannot be reached: {self.quote(_cause(error))}"
            return Refused("unavailable", f"{self._shown} {reason}")
        if stage == "send":
            reason = f"did not take the request within {seconds}" if late else "broke the connection during the request"
            return Refused("unavailable", f"{self._shown} {reason}")
        kind = "in_doubt" if changes else "unavailable"
        if late:
            return Refused(kind, f"{self._shown} took the request and did not answer in {seconds}")
        if isinstance(error, _EndlessAnswer):
            return Refused(kind, f"{self._shown} answered more than {ANSWER_BYTES_MAX // 2**20} MiB")
        return Refused(kind, f"the connection to {self._shown} broke after the request was sent")

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Refused:
        wait, note = _retry_after(headers.get("Retry-After"))
        said = self.quote(_said(body))
        if 300 <= status < 400:
            place = self.quote(_without_secrets(headers.get("Location") or ""))
            note += place and f" and points to {place}; redirects are not followed, so correct the url"
        kind = self._kind(status, wait)
        if kind == "unauthorized":
            note += self.credential_note
        return Refused(kind, f"{self._shown} answered {status}{said and f': {said}'}{note}", status, wait)

    def _kind(self, status: int, retry_after: float | None) -> str:
        if status in (401, 403):
            return "unauthorized"
        if status == 429 or (status == 503 and retry_after is not None):
            return "throttled"
        if status in _REJECTED:
            return "rejected"
        if status in _GATEWAY and not self._idempotent:
            return "in_doubt"
        if status == 503 or status in _GATEWAY or status < 500:  # 404 and the like: the url is wrong, not the turn
            return "unavailable"
        return "failed"


class _EndlessAnswer(HTTPException):
    """More was answered than anybody wants to read."""


class _Route(Struct, frozen=True):
    """The way to a server, and how requests would call there."""

    pool: HTTPConnectionPool
    target: str
    headers: dict[str, str]


def check_url(url: str, *, query: bool = False) -> None:
    """Raise ValueError for what is no address of a server, or holds a password; only with `query` may it have a '?'."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("url must begin with http:// or https://")
    if not url.isprintable() or " " in url:
        raise ValueError("url must hold no blanks and nothing that cannot be printed")
    address = urlsplit(url)
    if not address.hostname:
        raise ValueError("url names no host")
    if "@" in address.netloc or "#" in url or (address.query and not query):
        signs = "no '#'" if query else "no '?' and no '#'"
        raise ValueError(f"url must hold no password, {signs}; a secret belongs into token")


def _find_route(url: str, headers: Mapping[str, str]) -> _Route:
    """What requests makes of the url and the environment: proxy, certificate authorities, credentials in the url."""
    with requests.Session() as session:
        session.trust_env = False  # a ~/.netrc is not where the configuration says that the token is
        request = session.prepare_request(requests.Request("GET", url, headers=headers))
        session.trust_env = True
        settings = session.merge_environment_settings(request.url, {}, None, None, None)
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_IDLE_CONNECTIONS_MAX)
    pool = adapter.get_connection_with_tls_context(request, settings["verify"], proxies=settings["proxies"], cert=None)
    return _Route(
        cast("HTTPConnectionPool", pool),
        adapter.request_url(request, settings["proxies"]),
        dict(request.headers),
    )


def _without_secrets(url: str) -> str:
    """An address as it may be told: what stands before the host may be a password, what stands after the path a key."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def _is_late(error: BaseException) -> bool:
    """Whether a time ran out; in urllib3 a refused connection is a timeout, and a timeout may be inside another."""
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return False
    return any(isinstance(e, TimeoutError | urllib3.exceptions.TimeoutError) for e in (error, *error.args))


def _cause(error: BaseException) -> str:
    """The innermost reason that was given, such as `Connection refused` or `self-signed certificate`."""
    told = ""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, SSLCertVerificationError):
            return f"its certificate is not trusted: {inner.verify_message}"
        if isinstance(inner, OSError):
            told = inner.strerror or next((arg for arg in inner.args if isinstance(arg, str)), "")
        args = [arg for arg in inner.args if isinstance(arg, BaseException)]
        inner = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__ or next(iter(args), None)
        if not isinstance(inner, BaseException):
            break
    return told or type(error).__name__


def _said(body: bytes) -> str:
    """What a server said of itself; only in its own fields for that, which echo no message text."""
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(data, dict):
        return ""
    return next((data[key] for key in ("error", "message", "detail") if isinstance(data.get(key), str)), "")


def _retry_after(value: str | None) -> tuple[float | None, str]:
    """Seconds to wait as a `Retry-After` header says (seconds or a date), capped, and a note if it was."""
    if value is None:
        return None, ""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (as_utc(parsedate_to_datetime(value)) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return None, ""
    if not seconds >= 0:  # a date in the past, or no number at all
        return 0.0, ""
    if seconds > RETRY_AFTER_MAX_SECONDS:
        return RETRY_AFTER_MAX_SECONDS, f" (it asked for {seconds:.0f} s, waiting {RETRY_AFTER_MAX_SECONDS:.0f} s)"
    return seconds, ""
