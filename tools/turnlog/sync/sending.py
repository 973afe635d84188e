"""One request, and one sound outcome for each of its turns, whatever the sink does.

A sink may have a bug: an exception, an outcome too few, a kind that nobody knows. None of it may take the engine and
the other turns' deliveries with it, so it is an outcome here: the request failed.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from eventlog import FAILURE_KINDS
from projections.delivery_state import SINK_KINDS
from turnlog.sinks.base import (
    Delivered,
    FindingSink,
    Flushed,
    FlushingSink,
    Outcome,
    OutgoingTurn,
    Refused,
    Sink,
    Unknown,
)
from turnlog.text import clean

Item = OutgoingTurn | Refused
"""A turn that can be sent, or why it cannot: its line is damaged, or holds what this version does not understand."""

MISSING = "missing"
"""What the outcome of a turn in doubt is called that the sink certainly does not have; for the engine, not the log."""


_SUPERSEDED = "a revision takes its place"
_CANNOT_TELL = "the sink cannot tell whether it has the turn already"


def send(
    sink: Sink,
    items: Sequence[Item],
    doubtful: Collection[int],
    *,
    holds: bool = False,
    superseded: Collection[int] = (),
) -> list[Outcome]:
    """Send the turns among `items` in one request; the outcome of each item, in their order.

    `doubtful` are the seqs of turns that the sink may have already. Where sending again would duplicate and the sink
    can tell, it is asked for them first; what it will never be able to tell is sent again, or with `holds` stays in
    doubt; those among them that are `superseded` are asked for and not sent. What it leaves in doubt now is asked for
    at once; doubt that repeats is the sink's fault if its check says that it is not well: a server that hangs kills no
    turn.
    """
    decided: dict[int, Outcome] = {i: item for i, item in enumerate(items) if isinstance(item, Refused)}
    turns = {i: item for i, item in enumerate(items) if isinstance(item, OutgoingTurn)}
    if doubtful and not sink.idempotent:
        decided |= _ask_first(sink, turns, doubtful, holds=holds)
    gone = [i for i, turn in turns.items() if turn.seq in superseded and i not in decided]
    decided |= dict.fromkeys(gone, Refused(MISSING, _SUPERSEDED))
    rest = {i: turn for i, turn in turns.items() if i not in decided}
    if rest:
        decided |= zip(rest, _deliver(sink, list(rest.values())), strict=True)
    in_doubt = {i: turn for i, turn in rest.items() if _is_in_doubt(decided[i])}
    if in_doubt:
        _find_out(sink, in_doubt, decided)
        again = [i for i, turn in in_doubt.items() if isinstance(decided[i], Refused) and turn.seq in doubtful]
        if again and (refused := check(sink)):
            decided |= dict.fromkeys(again, refused)
    return [decided[i] for i in range(len(items))]


def settle(sink: Sink, items: Sequence[Item], error: str) -> list[Outcome]:
    """The outcomes of a request whose worker died: what the sink has, what it has not, and doubt about the rest."""
    turns = {i: item for i, item in enumerate(items) if isinstance(item, OutgoingTurn)}
    decided: dict[int, Outcome] = {i: item for i, item in enumerate(items) if isinstance(item, Refused)}
    decided |= {i: Refused("in_doubt", error) for i in turns}
    _find_out(sink, turns, decided)
    return [decided[i] for i in range(len(items))]


def flush(sink: FlushingSink, user: str, *, quiet: bool) -> Flushed | Refused:
    """Flush a user's buffer."""
    try:
        outcome = sink.flush(user, quiet=quiet)
    except Exception as error:  # noqa: BLE001 - see the module
        return Refused("failed", f"the sink broke: {type(error).__name__}")
    if isinstance(outcome, Refused):
        return _sound_refusal(outcome)
    if not isinstance(outcome, Flushed):
        return Refused("failed", f"the sink broke: a {type(outcome).__name__} is no outcome of a flush")
    return outcome


def check(sink: Sink) -> Refused | None:
    """What is wrong with the sink, as a failure of the sink's own; None if it takes turns."""
    try:
        refused = sink.check()
    except Exception as error:  # noqa: BLE001 - see the module
        return Refused("unavailable", f"the sink's check broke: {type(error).__name__}")
    if refused is None:
        return None
    refused = _sound_refusal(refused)
    if refused.kind in SINK_KINDS:
        return refused
    return msgspec.structs.replace(refused, kind="unavailable")  # a check is about no turn, whatever failed in it


def size(sink: Sink, item: Item) -> int:
    """How many bytes a turn adds to a request, or a little more."""
    if isinstance(item, Refused):
        return 0
    try:
        return int(sink.size(item))
    except Exception:  # noqa: BLE001 - see the module; sending it will show what is wrong
        return item.line_bytes


def _ask_first(
    sink: Sink, turns: Mapping[int, OutgoingTurn], doubtful: Collection[int], *, holds: bool
) -> dict[int, Outcome]:
    """The turns that the sink says it has, and what keeps the others from being sent, if anything does."""
    answers = _ask(sink, {i: turn for i, turn in turns.items() if turn.seq in doubtful})
    decided = _delivered(answers)
    unknown = [answer for answer in answers.values() if isinstance(answer, Unknown)]
    if not unknown or (all(answer.final for answer in unknown) and not holds):
        return decided
    if not all(answer.final for answer in unknown):
        refused = check(sink) or Refused("failed", _CANNOT_TELL)
    else:  # once it is alone the operator decides, about no other turn; nothing behind it may be sent before it
        refused = Refused("in_doubt" if len(turns) == 1 else "failed", _CANNOT_TELL)
    return {i: decided.get(i, refused) for i in turns}


def _is_in_doubt(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.kind == "in_doubt"


def _find_out(sink: Sink, turns: Mapping[int, OutgoingTurn], decided: dict[int, Outcome]) -> None:
    """Replace doubt by what the sink says when it is asked."""
    answers = _ask(sink, turns)
    decided |= _delivered(answers)
    for i, answer in answers.items():
        doubt = decided[i]
        if answer is None and isinstance(doubt, Refused):
            decided[i] = msgspec.structs.replace(doubt, kind=MISSING)


def _delivered(answers: Mapping[int, Delivered | Unknown | None]) -> dict[int, Outcome]:
    return {
        i: msgspec.structs.replace(_sound_delivery(answer), reconciled=True)
        for i, answer in answers.items()
        if isinstance(answer, Delivered)
    }


def _ask(sink: Sink, turns: Mapping[int, OutgoingTurn]) -> dict[int, Delivered | Unknown | None]:
    """What the sink says of some turns, if it can tell; once it cannot just now, it is not asked about the rest."""
    answers: dict[int, Delivered | Unknown | None] = {}
    if isinstance(sink, FindingSink):
        for i, turn in turns.items():
            try:
                answers[i] = sink.find(turn)
            except Exception as error:  # noqa: BLE001 - see the module
                answers[i] = Unknown(type(error).__name__)
            if isinstance(answer := answers[i], Unknown) and not answer.final:
                break
    return answers


def _deliver(sink: Sink, turns: Sequence[OutgoingTurn]) -> list[Outcome]:
    try:
        outcomes = list(sink.deliver(turns))
    except Exception as error:  # noqa: BLE001 - see the module
        return [Refused("failed", f"the sink broke: {type(error).__name__}")] * len(turns)
    if len(outcomes) != len(turns):
        return [Refused("failed", f"the sink told {len(outcomes)} outcomes for {len(turns)} turns")] * len(turns)
    different = {id(outcome): outcome for outcome in outcomes}  # many turns share one, mostly
    sound = {key: _sound(outcome) for key, outcome in different.items()}
    return [sound[id(outcome)] for outcome in outcomes]


def _sound(outcome: object) -> Outcome:
    """An outcome that can be written down."""
    if isinstance(outcome, Delivered):
        return _sound_delivery(outcome)
    if isinstance(outcome, Refused):
        return _sound_refusal(outcome)
    return Refused("failed", f"the sink broke: a {type(outcome).__name__} is no outcome")


def _sound_delivery(outcome: Delivered) -> Delivered:
    try:
        receipt: Any = msgspec.json.decode(msgspec.json.encode(clean(outcome.receipt)[0]))
    except (TypeError, ValueError, RecursionError):  # the turn is delivered all the same
        receipt = None
    buffered = outcome.buffered if isinstance(outcome.buffered, int) else 0
    return Delivered(receipt, buffered=max(0, buffered))


def _sound_refusal(outcome: Refused) -> Refused:
    try:
        cleaned = msgspec.structs.replace(outcome, error=clean(outcome.error)[0])
        sound = msgspec.json.decode(msgspec.json.encode(cleaned), type=Refused)
    except (TypeError, ValueError, RecursionError) as error:
        return Refused("failed", f"the sink broke: a refusal that cannot be written down ({type(error).__name__})")
    if sound.kind not in FAILURE_KINDS:
        return Refused("failed", f"the sink broke: there is no kind of failure {sound.kind!r}")
    return sound
