"""The sink `webhook`: turns posted to any URL, which takes them by answering with a 2xx.

The headers and the signature are those of Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks,
spec/standard-webhooks.md): `webhook-id`, `webhook-timestamp` in Unix seconds, and, if there is a secret,
`webhook-signature: v1,` and the base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`. docs/sinks.md describes the
body and shows how to verify it.

A request holds one turn unless the configuration says more: then the id is the turn's own, however often and together
with whichever others it is sent, so that a receiver can tell by it what it has already.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from turnlog.clock import Clock, SystemClock
from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef
from turnlog.sinks.base import Delivered, Limits, Outcome, OutgoingTurn, Refused, Sink
from turnlog.sinks.http import HttpClient, check_url
from turnlog.sinks.rendering import render_turn, rendered_bytes

TYPE = "turns.recorded"
"""What a body says that it is."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every such secret begins with
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""As Standard Webhooks has it."""

_SECONDS_MAX = 3600.0
_HIDDEN_LENGTH_MIN = 6
"""Shorter values in a URL are no secrets, and to black them out would black out half of every error."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = ("host", "content-type", "content-length", "transfer-encoding", "connection")
_AWAY = (None, 429, 502, 503, 504)
_GONE = 410

_encode = msgspec.json.Encoder().encode


class WebhookOptions(Struct, frozen=True):
    """What the configuration says of such a sink; seconds for each stage of a request, `connections` at once.

    `url` and the values of `headers` are text or the place of a secret. `secret` signs, `token` is sent as a bearer.
    `idempotent`: the receiver knows a turn again, so that doubt is settled by sending it again.
    """

    url: str | SecretRef
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, str | SecretRef] = field(default_factory=dict)
    token: SecretRef | None = None
    secret: SecretRef | None = None
    idempotent: bool = False
    turns: int = 1
    request_bytes: int = 4 * 1024 * 1024
    connections: int = 4
    connect_seconds: float = 3.0
    send_seconds: float = 30.0
    read_seconds: float = 30.0

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            check_url(self.url, query=True)
        for name in self.headers:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"headers: {name!r} is no name of a header")
            if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
                raise ValueError(f"headers: {name!r} is set by the sink itself")
        if self.token and "authorization" in map(str.lower, self.headers):
            raise ValueError("give token or the header Authorization, not both")
        if min(self.connections, self.turns, self.request_bytes) < 1:
            raise ValueError("connections, turns and request_bytes must be at least 1")
        if not all(0 < s <= _SECONDS_MAX for s in (self.connect_seconds, self.send_seconds, self.read_seconds)):
            raise ValueError(
                f"connect_seconds, send_seconds and read_seconds must be above 0, at most {_SECONDS_MAX:g}"
            )


class WebhookSink(Sink):
    """Delivers to one URL. A new revision of a turn is sent whole, like a turn, with its number."""

    type: ClassVar[str] = "webhook"

    def __init__(
        self,
        options: WebhookOptions,
        *,
        url: str,
        headers: dict[str, str],
        token: str | None = None,
        key: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`url` and `headers` are those of the options with their secrets, `key` is what the secret stands for."""
        self.limits = Limits(options.turns, options.turns, options.request_bytes)
        self.connections = options.connections
        self.idempotent = options.idempotent
        self._method = options.method
        self._key = key
        self._clock = clock or SystemClock()
        secrets = [headers[name] for name, value in options.headers.items() if isinstance(value, SecretRef)]
        address = urlsplit(url)
        self._client = HttpClient(
            url,
            token,
            connect_seconds=options.connect_seconds,
            send_seconds=options.send_seconds,
            read_seconds=options.read_seconds,
            idempotent=options.idempotent,
            credential=str(options.token or ""),
            headers=headers,
            shown=f"{address.scheme}://{address.netloc}",
            hidden=[*secrets, *_secret_parts(url)],
        )

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Self:
        """See `Sink.from_options`."""
        chosen = convert(options, WebhookOptions, where=where, error=ConfigError)
        try:
            url = _text(chosen.url, folder)
            check_url(url, query=True)
            headers = {name: _header(name, _text(value, folder)) for name, value in chosen.headers.items()}
            key = _key(chosen.secret.resolve(folder)) if chosen.secret else None
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        token = chosen.token.resolve(folder) if chosen.token else None
        return cls(chosen, url=url, headers=headers, token=token, key=key)

    def check(self) -> Refused | None:
        """Ask for the URL's head, which sends no turn.

        What answers is there, whatever it answers: a receiver need not know this method, and what refuses it (API
        gateways say 403) may take a turn. Only 429 and a gateway's 502, 503 and 504 say that nobody is in.
        """
        answer = self._client.request("HEAD", "", headers=self._signed("check", b""))
        return answer if isinstance(answer, Refused) and answer.status in _AWAY else None

    def size(self, turn: OutgoingTurn) -> int:
        """The bytes of its JSON."""
        return rendered_bytes(turn)

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Post the turns; the receipt is the id that they were sent under, and the status."""
        name = webhook_id(batch)
        body = render(batch)
        answer = self._client.request(self._method, "", body, headers=self._signed(name, body))
        if not isinstance(answer, Refused):
            return [Delivered({"id": name, "status": answer.status})] * len(batch)
        if answer.status == _GONE:  # "no longer interested": until somebody acts, as with a token that is refused
            answer = replace(answer, kind="unauthorized", error=f"{answer.error}: it wants no more turns")
        return [answer] * len(batch)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _signed(self, name: str, body: bytes) -> dict[str, str]:
        seconds = str(int(self._clock.now().timestamp()))
        headers = {"webhook-id": name, "webhook-timestamp": seconds}
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, name, seconds, body)
        return headers


def render(batch: Sequence[OutgoingTurn]) -> bytes:
    """The body of a request: the same for the same turns, whenever it is made."""
    newest = max(turn.recorded_at for turn in batch)
    return _encode({"type": TYPE, "timestamp": newest, "data": {"turns": list(map(render_turn, batch))}})


def webhook_id(batch: Sequence[OutgoingTurn]) -> str:
    """What names a delivery of these turns: the same whenever they are sent, unless they are owed anew."""
    turns = [(t.seq, t.event.turn_id, t.event.revision, t.delivery, t.recorded_at) for t in batch]
    return f"msg_{sha256(_encode(turns)).hexdigest()[:32]}"


def sign(key: bytes, name: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{name}.{timestamp}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, signed, sha256)).decode()}"


def _text(value: str | SecretRef, folder: Path) -> str:
    return value.resolve(folder) if isinstance(value, SecretRef) else value


def _header(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ValueError(f"headers: the value of {name!r} must be one line of plain ASCII characters")
    return value


def _key(secret: str) -> bytes:
    """The key that a secret stands for. Raises ValueError, which does not tell the secret."""
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not (secret.startswith(SECRET_PREFIX) and SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX):
        raise ValueError(
            f"secret must be {SECRET_PREFIX} and the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes; "
            "docs/sinks.md shows how to make one"
        )
    return key


def _secret_parts(url: str) -> list[str]:
    """What no error tells of a URL, of which path or query may be the secret: both, and every value in the query."""
    address = urlsplit(url)
    values = [value for _, value in parse_qsl(address.query)]
    raw = [pair.partition("=")[2] for pair in address.query.split("&")]
    parts = [address.path.strip("/"), address.query, *values, *raw]
    return [part for part in parts if len(part) >= _HIDDEN_LENGTH_MIN]
