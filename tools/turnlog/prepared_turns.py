"""Turns ready to be appended: what takes time is done, by any process, and before any lock is held."""

from typing import Any

import msgspec
from msgspec import Struct

from eventlog import Encoded, InvalidEvent, TurnHeader, TurnRecorded, prepare
from projections import Gist, gist_of
from turnlog.errors import BadTurn

_decode = msgspec.json.Decoder(TurnRecorded).decode


class PreparedTurn(Struct, frozen=True):
    """A turn as whoever records it needs it: whose it is, the gist of its content, and the whole event as JSON."""

    header: TurnHeader
    gist: Gist
    json: bytes

    @property
    def encoded(self) -> Encoded:
        """What the log appends."""
        return "TurnRecorded", self.json

    def turn(self) -> TurnRecorded:
        """The whole event."""
        return _decode(self.json)

    def changed(self, **fields: Any) -> "PreparedTurn":
        """The same content with other fields of the header."""
        if all(getattr(self.header, name) == value for name, value in fields.items()):
            return self
        return _prepared(msgspec.structs.replace(self.turn(), **fields), self.gist)


def prepare_turn(turn: TurnRecorded) -> PreparedTurn:
    """Raises BadTurn for a turn that could not be read again as it is."""
    try:
        gist = gist_of(turn)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTurn(f"the turn {turn.turn_id!r} cannot be written as JSON: {error}") from error
    return _prepared(turn, gist)


def _prepared(turn: TurnRecorded, gist: Gist) -> PreparedTurn:
    try:
        _, json = prepare(turn)
    except InvalidEvent as error:
        raise BadTurn(str(error)) from error
    return PreparedTurn(turn.header, gist, json)
