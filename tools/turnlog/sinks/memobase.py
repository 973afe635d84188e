"""The sink `memobase`: turns as chat blobs of a Memobase server, which makes a memory of each user out of them.

One request is one blob: consecutive turns of one conversation, up to a budget of tokens. The server keeps blobs in a
buffer for each user, and drops in silence what is too much for one flush of it; so a user has one request at a time,
and is flushed before the buffer is too full. Inserting is not idempotent: each blob carries in its `fields` which turns
it holds (`memobase_api.Fields`), and when in doubt the newest blobs are looked at. A revision is sent as what is new in
it. What Memobase cannot take as it is, and how it is sent, is told in `memobase_text`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef
from turnlog.sinks.base import Delivered, Flushed, Limits, Lost, Outcome, OutgoingTurn, Refused, Sink, Unknown
from turnlog.sinks.http import HttpClient, check_url
from turnlog.sinks.memobase_api import API, ApiError, Blob, Fields, MemobaseApi, ModelFailed, UserMissing, user_uuid
from turnlog.sinks.memobase_text import ChatMessage, Piece, chat_messages, safe, split

TOKENS_MIN, TOKENS_MAX = 256, 12_000
"""What `tokens` may be. A flush takes 16,384 tokens, and `memobase_text.tokens` may be a third too low."""

_TURNS_MAX = 500
_LOOKED_AT_MAX = 200
"""So many blobs of a user are looked at, at most, before it is said that nobody can tell."""

_SEARCHED_MAX = 4000
"""So many for a turn that was tried before: other conversations of the user go on while it waits."""


class MemobaseOptions(Struct, frozen=True):
    """What the configuration says of such a sink.

    `tokens` a blob and a user's buffer may hold; `flush_after_seconds` a user must have been quiet to be flushed, 0:
    never; timeouts in seconds, `connections` requests at once. A flush is answered when the server's model is done.
    """

    url: str
    token: SecretRef | None = None
    tokens: int = TOKENS_MAX
    flush_after_seconds: float = 60.0
    connections: int = 4
    connect_seconds: float = 3.0
    read_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if not TOKENS_MIN <= self.tokens <= TOKENS_MAX:
            raise ValueError(f"tokens must be from {TOKENS_MIN} to {TOKENS_MAX}: a flush drops what is more")
        if self.flush_after_seconds < 0 or self.connections < 1:
            raise ValueError("flush_after_seconds must be at least 0, and connections at least 1")


class _ChatData(Struct, frozen=True):
    messages: tuple[ChatMessage, ...]


class _ChatBlob(Struct, frozen=True):
    blob_data: _ChatData
    fields: Fields
    blob_type: str = "chat"


class _Found(Struct, frozen=True):
    id: str
    part: int


class MemobaseSink(Sink):
    """Delivers to one Memobase project."""

    type: ClassVar[str] = "memobase"
    revisions: Literal["upsert", "append", "replace"] = "append"

    def __init__(self, options: MemobaseOptions, *, token: str | None) -> None:
        self.limits = Limits(
            turns=_TURNS_MAX, conversations=1, size=options.tokens, one_user=True, buffered=options.tokens
        )
        self.connections = options.connections
        self.flush_after_seconds = options.flush_after_seconds
        self._tokens = options.tokens
        client = HttpClient(
            options.url.rstrip("/").removesuffix(API),  # which is part of the address in some guides
            token,
            connect_seconds=options.connect_seconds,
            read_seconds=options.read_seconds,
            idempotent=False,
            credential=str(options.token or ""),
        )
        self._client, self._api = client, MemobaseApi(client)
        self._parts: dict[tuple[int, int], int] = {}  # acknowledged, of turns that got stuck halfway
        self._failed_before: dict[str, set[str]] = {}  # by user: rows that had failed before a flush under way
        self._lost: dict[str, dict[Lost, None]] = {}  # by user: what flushes have lost and nobody was told

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Self:
        """See `Sink.from_options`."""
        chosen = convert(options, MemobaseOptions, where=where, error=ConfigError)
        return cls(chosen, token=chosen.token.resolve(folder) if chosen.token else None)

    def check(self) -> Refused | None:
        """Ask for its health, and for something that needs the token."""
        return self._api.check()

    def size(self, turn: OutgoingTurn) -> int:
        """At least how many tokens the turn's messages are, or what is new of them."""
        return max(1, sum(message.tokens for message in _messages(turn)))

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Insert the turns, which are of one conversation, as one blob; a turn that is too long for one as several."""
        try:
            delivered = self._deliver(batch)
        except ApiError as error:
            return [error.refused] * len(batch)
        if any(turn.delivery > 1 for turn in batch):
            with suppress(ApiError):  # they are in nobody's way
                self._delete_replaced(batch)
        return [delivered] * len(batch)

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Look at the user's newest blobs.

        After a flush the server deletes what it has processed, unless `persistent_chat_blobs` is set. A flush takes all
        that is idle, so if an older blob of ours is still there, and is waiting for one, ours was never stored.
        """
        pieces = self._pieces([turn])
        user = user_uuid(turn.event.user)
        try:
            newest, is_after = self._look_for(user, turn)
            if newest is None and pieces:
                if (is_after and self._keeps_order(user)) or not self._api.has_user(user):
                    return None
                return Unknown("the user's blobs are gone from Memobase, as they are after a flush", final=True)
        except ApiError as error:
            return Unknown(error.refused.error)
        if newest is None:
            return Delivered({"user": user, "blobs": []})
        if newest.part == len(pieces):  # it may be idle: that is, counted among what waits for a flush
            return Delivered({"user": user, "blobs": [newest.id]}, buffered=pieces[-1].tokens)
        return None

    def flush(self, user: str, *, quiet: bool) -> Flushed | Refused:  # noqa: ARG002 - both want to know what failed
        """Have the user's buffer processed, and tell what the server could not process, now or before."""
        uuid = user_uuid(user)
        try:
            model_failed = self._flush(uuid)
        except ApiError as error:
            return error.refused
        lost = tuple(self._lost.pop(uuid, ()))
        if model_failed and not lost:
            return Refused("failed", "the model behind Memobase failed")
        return Flushed(lost, "Memobase could not process the blob" if lost else "")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # Inserting.

    def _deliver(self, batch: Sequence[OutgoingTurn]) -> Delivered:
        user, pieces = user_uuid(batch[0].event.user), self._pieces(batch)
        key = batch[0].seq, batch[0].delivery
        done = self._parts.get(key, 0)
        if len(pieces) > 1 and batch[0].tries:
            newest, _ = self._look_for(user, batch[0])
            done = max(done, newest.part if newest else 0)
        blobs, buffered = [], 0
        for part, piece in enumerate(pieces[done:], start=done + 1):
            if part > 1:  # two of them are too much for one flush
                self._flush(user)
            fields = _fields(batch, part, len(pieces), continues=piece.continues)
            blobs.append(self._insert(user, batch[0].event.user, piece, fields))
            buffered = piece.tokens
            self._parts[key] = part
        self._parts.pop(key, None)
        return Delivered({"user": user, "blobs": blobs}, buffered=buffered)

    def _pieces(self, batch: Sequence[OutgoingTurn]) -> list[Piece]:
        messages = tuple(message for turn in batch for message in _messages(turn))
        if len(batch) > 1:
            return [Piece(messages)] if messages else []
        return split(messages, self._tokens)

    def _insert(self, user: str, name: str, piece: Piece, fields: Fields) -> str:
        body = msgspec.json.encode(_ChatBlob(_ChatData(piece.messages), fields))
        try:
            return self._api.insert(user, body)
        except UserMissing:
            self._api.create_user(user, safe(name))
        try:
            return self._api.insert(user, body)
        except UserMissing as error:
            refused = Refused("failed", "Memobase does not know a user that was just created", 200)
            raise ApiError(refused) from error

    def _flush(self, user: str) -> bool:
        """Flush, wait for it, and note what was lost in it; whether the model failed."""
        if user in self._failed_before:  # nobody saw the end of the last one
            self._note_lost(user)
        self._failed_before[user] = self._api.buffered(user, "failed")
        try:
            self._api.flush(user, wait=True)
        except ModelFailed:
            model_failed = True
        else:
            model_failed = False
        self._note_lost(user)
        del self._failed_before[user]
        return model_failed

    def _note_lost(self, user: str) -> None:
        """Note the turns that the server could not process, to be told when the user is flushed next."""
        failed = self._api.buffered(user, "failed")
        if failed:
            blobs = self._failed_blobs(user, len(failed), len(failed - self._failed_before[user]))
            self._lost.setdefault(user, {}).update((one, None) for blob in blobs for one in _held(blob))

    # Looking.

    def _look_for(self, user: str, turn: OutgoingTurn) -> tuple["_Found | None", bool]:
        """The newest blob that holds this delivery of the turn, and whether an older one than that would be was seen.

        Parts are inserted in order: where there is one, those before it were stored. A turn that was tried before is
        looked for behind the blobs that other conversations of the user have got since.
        """
        seen_older, looked_at = False, 0
        looked_at_max = _SEARCHED_MAX if turn.tries else _LOOKED_AT_MAX
        for blob in islice(self._api.newest_blobs(user), looked_at_max):
            fields, looked_at = blob.fields, looked_at + 1
            if fields is not None and fields.holds(safe(turn.event.turn_id), turn.seq, turn.delivery):
                return _Found(blob.id, fields.part), seen_older
            seen_older = seen_older or (fields is not None and fields.attempt < turn.attempt)
            is_before_all_tries = fields is not None and fields.attempt < turn.seq
            if is_before_all_tries or (seen_older and not turn.tries):
                return None, True
        return None, seen_older and looked_at < looked_at_max

    def _keeps_order(self, user: str) -> bool:
        """Whether older blobs go before newer ones: not if the server kept them because it could not process them."""
        stuck = len(self._api.buffered(user, "failed")) + len(self._api.buffered(user, "processing"))
        if not stuck:
            return True
        idle = len(self._api.buffered(user, "idle"))
        return self._api.count_blobs(user) > stuck + idle  # it keeps what it has processed, too

    def _failed_blobs(self, user: str, failed: int, newly: int) -> Iterator[Blob]:
        """The blobs in the failed rows of the buffer, which are told by other ids than the blobs.

        Blobs come in the order of the rows. If there are no more blobs than rows, the server deletes what it has
        processed, and what is left has failed; else only those are known that have failed just now: the newest ones.
        """
        waiting = len(self._api.buffered(user, "idle")) + len(self._api.buffered(user, "processing"))
        count = failed if self._api.count_blobs(user) == failed + waiting else newly
        for blob_id in islice(self._api.newest_blob_ids(user), waiting, waiting + count):
            if (blob := self._api.blob(user, blob_id)) is not None:
                yield blob

    def _delete_replaced(self, batch: Sequence[OutgoingTurn]) -> None:
        """Delete the blobs of turns that the server could not process, once all of their turns are there again."""
        user = user_uuid(batch[0].event.user)
        blobs = list(islice(self._api.newest_blobs(user), _LOOKED_AT_MAX))
        newest = {(safe(turn.event.turn_id), turn.seq): turn.delivery for turn in batch}
        for blob in blobs:
            for turn_id, seq, delivery in blob.fields.turns() if blob.fields else ():
                newest[turn_id, seq] = max(newest.get((turn_id, seq), 0), delivery)
        for blob in blobs:
            turns = list(blob.fields.turns()) if blob.fields else []
            if turns and all(newest[turn_id, seq] > delivery for turn_id, seq, delivery in turns):
                self._api.delete_blob(user, blob.id)


def _messages(turn: OutgoingTurn) -> list[ChatMessage]:
    return chat_messages(turn.event, turn.recorded_at, turn.older)


def _fields(batch: Sequence[OutgoingTurn], part: int, parts: int, *, continues: bool) -> Fields:
    return Fields(
        turn_ids=[safe(turn.event.turn_id) for turn in batch],
        seqs=[turn.seq for turn in batch],
        deliveries=[turn.delivery for turn in batch],
        attempt=batch[0].attempt,
        conversation=safe(batch[0].event.conversation),
        part=part,
        parts=parts,
        continues=continues,
    )


def _held(blob: Blob) -> Iterable[Lost]:
    turns = blob.fields.turns() if blob.fields else ()
    return [Lost(seq, delivery) for _, seq, delivery in turns]
