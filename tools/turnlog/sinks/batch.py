"""The sink `batch`: conversations posted in batches to a server that keeps them by uuid.

`POST {url}/internal/v1/sync/batch` with `Authorization: Bearer TOKEN`; every message has a uuid that depends on the
turn's id and the message's name in it and on nothing else, so that sending again updates and never duplicates, and a
new revision takes the place of the old one. Such servers give one of two answers, the counts at the top or inside
`{"code": 0, "message": "ok", "data": {...}}`; both are read, and `success` false or a `code` other than 0 is a refusal.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha1
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec
from msgspec import Struct

from eventlog import Message
from projections import Place, message_names
from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef
from turnlog.sinks.base import Delivered, Limits, Outcome, OutgoingTurn, Refused, Sink
from turnlog.sinks.http import Answer, HttpClient, check_url

NAMESPACE = UUID("6d0f4a4e-8c1b-5f5e-9d2b-3a7c1e5b9f20")
"""Of the uuids that this sink makes. Changing it would duplicate everything that was ever delivered."""

_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

SOURCE_TYPES = {"chatgpt": "gpt"}
"""How servers of this kind call a source, where they call it differently."""

_PATH = "/internal/v1/sync/batch"
_HEALTH_PATH = "/api/v1/health"

# What JSON around a message and a conversation costs, at most, beside the text: names, three uuids, a time.
_MESSAGE_BYTES, _CONVERSATION_BYTES = 400, 600


class BatchOptions(Struct, frozen=True):
    """What the configuration says of such a sink: timeouts in seconds, `connections` requests at once."""

    url: str
    token: SecretRef | None = None
    connections: int = 4
    turns: int = 500
    conversations: int = 100
    request_bytes: int = 4 * 1024 * 1024
    connect_seconds: float = 3.0
    read_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if min(self.connections, self.turns, self.conversations, self.request_bytes) < 1:
            raise ValueError("connections, turns, conversations and request_bytes must be at least 1")


class _Counts(Struct):
    success: bool | None = None
    inserted_conversations: int = 0
    inserted_messages: int = 0
    updated_conversations: int = 0
    updated_messages: int = 0


class _Reply(_Counts):
    code: int | None = None
    message: str = ""
    error: str = ""
    data: _Counts | None = None


class BatchSink(Sink):
    """Delivers to one such server."""

    type: ClassVar[str] = "batch"
    idempotent = True
    places = True

    def __init__(self, options: BatchOptions, *, token: str | None) -> None:
        self.limits = Limits(options.turns, options.conversations, options.request_bytes, one_source=True)
        self.connections = options.connections
        self._client = HttpClient(
            options.url,
            token,
            connect_seconds=options.connect_seconds,
            read_seconds=options.read_seconds,
            idempotent=True,
            credential=str(options.token or ""),
        )

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Self:
        """See `Sink.from_options`."""
        chosen = convert(options, BatchOptions, where=where, error=ConfigError)
        return cls(chosen, token=chosen.token.resolve(folder) if chosen.token else None)

    def check(self) -> Refused | None:
        """Ask for its health, then post an empty batch: only that tells whether the token is right."""
        for method, path, body in (
            ("GET", _HEALTH_PATH, None),
            ("POST", _PATH, b'{"source_type":"live","conversations":[]}'),
        ):
            answer = self._client.request(method, path, body)
            if isinstance(answer, Refused) and method == "GET" and answer.status in (404, 405):
                continue  # not every server tells its health; the batch will show
            if isinstance(answer, Refused) and (_blames_sink(answer) or answer.status is None):
                return answer
        return None

    def size(self, turn: OutgoingTurn) -> int:
        """A message's text stands in a request twice, as `content` and as `content_text`."""
        return 2 * turn.line_bytes + _MESSAGE_BYTES * len(turn.event.messages) + _CONVERSATION_BYTES

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Post the turns, which are of one source; the server takes or refuses a request as a whole."""
        answer = self._client.request("POST", _PATH, msgspec.json.encode(render(batch)))
        outcome = answer if isinstance(answer, Refused) else _read(answer, self._client.quote)
        return [outcome] * len(batch)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def render(batch: Sequence[OutgoingTurn]) -> dict[str, Any]:
    """The body of a request: the turns' messages in order, gathered by conversation."""
    conversations: dict[str, dict[str, Any]] = {}
    uuids: dict[tuple[str, str, str], str] = {}  # of conversations
    parents: dict[tuple[str | None, str | None], str] = {}  # of messages that another may come behind
    for turn in batch:
        event = turn.event
        lane = (event.source, event.user, event.conversation)
        uuid = uuids.get(lane) or uuids.setdefault(lane, conversation_uuid(turn))
        conversation = conversations.get(uuid) or conversations.setdefault(uuid, _conversation(uuid, turn))
        conversation["updated_at"] = max(conversation["updated_at"], _time(turn, event.ended_at))
        conversation["messages"].extend(_messages(turn, parents))
    source = batch[0].event.source
    return {"source_type": SOURCE_TYPES.get(source, source), "conversations": list(conversations.values())}


def conversation_uuid(turn: OutgoingTurn) -> str:
    """The conversation's own id if it is a UUID, else one made from source, user and id."""
    event = turn.event
    try:
        return str(UUID(event.conversation))
    except ValueError:
        return _uuid(f"conversation\n{event.source}\n{event.user}\n{event.conversation}")


def message_uuid(turn_id: str, name: str) -> str:
    """The uuid of a message from its turn's id and its name in it."""
    return _uuid(f"message\n{turn_id}\n{name}")


def _uuid(name: str) -> str:
    """The text of `uuid.uuid5(NAMESPACE, name)`, without its object: every message needs one, and most are wanted once.

    By RFC 9562, section 5.5: the first 16 bytes of a SHA-1, in which six bits tell the version and the variant.
    """
    digits = sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANTS[digits[16]]}{digits[17:20]}-{digits[20:32]}"


def _conversation(uuid: str, turn: OutgoingTurn) -> dict[str, Any]:
    event = turn.event
    return {
        "uuid": uuid,
        "title": None,
        "metadata": {"user": event.user, "source": event.source, "conversation": event.conversation},
        "created_at": _time(turn, event.started_at),
        "updated_at": _time(turn, event.ended_at),
        "messages": [],
    }


def _messages(turn: OutgoingTurn, parents: dict[tuple[str | None, str | None], str]) -> list[dict[str, Any]]:
    """A turn's messages; the last one's uuid is noted in `parents`: the next turn is mostly in this request, too."""
    event, place = turn.event, turn.place or Place(0, None, None)
    previous = (place.previous_turn, place.previous_message)
    parent = parents.get(previous)
    if parent is None and place.previous_turn is not None and place.previous_message is not None:
        parent = message_uuid(place.previous_turn, place.previous_message)
    rendered = []
    for name, message in zip(message_names(event), event.messages, strict=True):
        uuid = message_uuid(event.turn_id, name)
        rendered.append(
            {
                "uuid": uuid,
                "parent_uuid": parent,
                "round_index": place.round_index,
                "role": message.role,
                **_content(message),
                "created_at": _time(turn, message.at),
            }
        )
        parent = uuid
    parents[event.turn_id, name] = uuid
    return rendered


def _content(message: Message) -> dict[str, Any]:
    """Plain text as it is; a message with parts as an object that holds both."""
    if not message.parts:
        return {"content_type": "text", "content": message.content, "content_text": message.content}
    content = {"text": message.content, "parts": message.parts}
    return {"content_type": "parts", "content": content, "content_text": message.content}


def _time(turn: OutgoingTurn, known: datetime | None) -> datetime:
    """A time in the turn; where it is not known the next best one."""
    return known or turn.event.started_at or turn.event.ended_at or turn.recorded_at


def _blames_sink(answer: Refused) -> bool:
    return answer.kind in ("unavailable", "unauthorized", "throttled")


def _read(answer: Answer, quote: Callable[[str], str]) -> Outcome:
    """What a 2xx really says."""
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Refused("failed", "the answer is not one that a batch server gives", answer.status)
    counts = reply.data or reply
    if reply.code or reply.success is False or counts.success is False:
        said = quote(reply.error or reply.message)
        code = "" if reply.code is None else f" with code {reply.code}"
        return Refused(_kind(reply.code), f"refused{code}{said and f': {said}'}", answer.status)
    if reply.code is None and reply.success is None:
        return Refused("failed", "the answer says neither success nor a code", answer.status)
    return Delivered({name: getattr(counts, name) for name in _Counts.__struct_fields__ if name != "success"})


def _kind(code: int | None) -> str:
    """A code inside the envelope that is an HTTP status means what that status means."""
    if code in (401, 403):
        return "unauthorized"
    if code in (429, 503):
        return "throttled" if code == 429 else "unavailable"
    return "failed" if code is not None and 500 <= code < 600 else "rejected"
