"""HTTP as sinks need it: one session a thread, and a kind for everything that can go wrong."""

import os
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3
from msgspec import Struct
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from turnlog.clock import as_utc
from turnlog.sinks.base import Refused

RETRY_AFTER_MAX_SECONDS = 3600.0
"""A sink that asks for more patience than this gets this much, and the error says so."""

_ANSWER_LENGTH_MAX = 200
_REJECTED = (400, 409, 413, 422)
_GATEWAY = (502, 504)


class Answer(Struct, frozen=True):
    """A reply with a 2xx status."""

    status: int
    body: bytes


class HttpClient:
    """Talks to one server. Timeouts are in seconds; `idempotent` says that every request may be sent again.

    Redirects are not followed, so that the token never goes to another host; proxies and certificate authorities
    come from the environment as requests takes them, once, because asking each time costs a third of a request.
    """

    def __init__(
        self, base_url: str, token: str | None, *, connect_seconds: float, read_seconds: float, idempotent: bool
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._shown = _without_password(self.base_url)
        self._token = token
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = (connect_seconds, read_seconds)
        self._idempotent = idempotent
        self._proxies = get_environ_proxies(self.base_url)
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer | Refused:
        """Make one request; `body` is JSON. Whatever does not end in a 2xx is a `Refused` of the right kind."""
        try:
            response = self._session().request(
                method, self.base_url + path, data=body, timeout=self._timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            return self._broken(error)
        if response.ok and response.status_code < 300:
            return Answer(response.status_code, response.content)
        return self._refusal(response)

    def quote(self, said: str) -> str:
        """What a server said, as it may be told: it ends in the log, where an echoed token has no place."""
        return (said.replace(self._token, "[redacted]") if self._token else said)[:_ANSWER_LENGTH_MAX]

    def close(self) -> None:
        """Close the sessions of all threads."""
        for session in self._sessions:
            session.close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
            session.headers.update(self._headers)
            session.proxies.update(self._proxies)
            session.verify = self._verify
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1))
            self._sessions.append(session)
        return session

    def _broken(self, error: requests.RequestException) -> Refused:
        """There is no answer. Whether the request was sent decides between an outage and doubt."""
        if isinstance(error, requests.ConnectTimeout):
            return Refused("unavailable", f"{self._shown} did not answer within {self._timeout[0]:g} s")
        if isinstance(error, requests.ReadTimeout):
            return Refused("in_doubt", f"{self._shown} took the request and did not answer in {self._timeout[1]:g} s")
        if _was_never_sent(error):
            return Refused("unavailable", f"{self._shown} cannot be reached: {_cause(error)}")
        return Refused("in_doubt", f"the connection to {self._shown} broke after the request was sent")

    def _refusal(self, response: requests.Response) -> Refused:
        status = response.status_code
        wait, note = _retry_after(response.headers.get("Retry-After"))
        said = self.quote(_said(response))
        error = f"{self._shown} answered {status}{said and f': {said}'}{note}"
        return Refused(self._kind(status, wait), error, status, wait)

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


def _without_password(url: str) -> str:
    """An address as it may be told: what stands before the host may be a password."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _was_never_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError | ValueError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _cause(error: BaseException) -> str:
    """The innermost reason that the system gave, such as `Connection refused`."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__
    return type(error).__name__


def _said(response: requests.Response) -> str:
    """What a server said of itself; only in its own fields for that, which echo no message text."""
    try:
        data = response.json()
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
