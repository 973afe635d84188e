"""Turns from the records of one rollout, in order."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from eventlog import ConversationNoted, TurnRecorded
from turnlog.sources.codex_events import event_draft
from turnlog.sources.codex_items import item_draft, text_or_none
from turnlog.sources.codex_messages import Draft, key_of
from turnlog.sources.codex_payloads import Payloads
from turnlog.sources.codex_threads import State, agent_of, ends_copy, moment, own_thread, parent_of
from turnlog.sources.codex_turns import NAME, Mark, TurnDraft, identify

_Record = dict[str, Any]

Place = Callable[[], tuple[int, int, str]]
"""Tells a `Mark` but for its state; asked for where turns begin only, since digests take time."""

_SMALL_BYTES = 1024
"""Fields of a session that are larger are kept beside the log: all its turns have them."""

_PREAMBLE_EVENTS = frozenset(("thread_settings_applied",))


class TurnReader:
    """Takes records and gives turns; `known_threads` are those whose own rollouts are read too.

    `closed` and `notes` are for the caller to take and empty. What precedes a prompt, from the record on that begins a
    task, is held in `lead` until the prompt or some work says whose it is.
    """

    def __init__(self, user: str, payloads: Payloads, known_threads: Collection[str], state: State) -> None:
        self.state = state
        self.closed: list[TurnRecorded] = []
        self.notes: list[ConversationNoted] = []
        self._user = user
        self._payloads = payloads
        self._known_threads = known_threads
        self._lead: TurnDraft | None = None
        self._open: TurnDraft | None = None
        self._time: datetime | None = None
        self._before = state
        self._total: _Record | None = state.total
        self._place: Place = lambda: (0, 0, "")

    def take(self, record: _Record, place: Place, *, replaced: int = 0) -> None:
        """Take in a record; `place` tells where it begins. Raises CannotRead if it is no record that can be kept."""
        if not self.state.own:
            own = own_thread(record)
            self.state = State(own=own, thread=own, conversation=own)
        self._place, self._before = place, self.state
        time = moment(record.get("timestamp") or record.get("created_at"))
        self._time = self._in_copy(record, time) if self.state.is_copy else time
        kind, payload = record.get("type"), record.get("payload")
        handle = _RECORDS.get(kind) if type(kind) is str else None
        if handle is not None and isinstance(payload, dict):
            handle(self, payload)
        else:
            self._take_bare(record)
        draft = self._lead or self._open
        if draft is not None:
            draft.begun = draft.begun or self._time
            draft.ended = self._time or draft.ended
            draft.replaced += replaced

    def _in_copy(self, record: _Record, time: datetime | None) -> datetime | None:
        """When something was said, which copied history does not tell; it may end here."""
        if ends_copy(self.state, record, time):
            self._end_copy()
            return time
        if time is not None:
            self.state = replace(self.state, copied_at=time.timestamp())
        return None

    def last(self) -> TurnRecorded | None:
        """The turn that is still open, as it is now."""
        if self._open is not None:
            return self._open.turn(self.state, self._user, self._payloads)
        if self._lead is None or self.state.has_turns:
            return None
        self._lead.turn_id = identify(self.state, self._lead, "")
        return self._lead.turn(self.state, self._user, self._payloads)

    def start(self, here: tuple[int, int, str]) -> Mark:
        """Where reading must begin again to give that turn again; `here` if there is none."""
        draft = self._open or self._lead
        return draft.start if draft else Mark(*here, replace(self.state, total=self._payloads.value(self._total)))

    # --- records ------------------------------------------------------------------------------------------------------

    def _take_bare(self, record: _Record) -> None:
        """A record without an envelope: of the first generation, of an index of names, or of nobody knows what."""
        if "type" not in record and "id" in record and {"instructions", "git"} & record.keys():
            self._take_session(record)
        elif "type" not in record and isinstance(record.get("thread_name"), str):
            self._name(record.get("id"), record["thread_name"])
        elif record.get("record_type") == "state" and len(record) == 1:
            return  # it says that there is a state, and not which
        else:
            self._take_item(record, is_bare=True)
            model = text_or_none(record.get("model"))
            if model and self._open:
                self._open.model = self._open.model or model

    def _take_session(self, payload: _Record) -> None:
        """The first is the file's own, those that follow at once are of threads whose history was copied."""
        state, thread = self.state, text_or_none(payload.get("id")) or text_or_none(payload.get("session_id"))
        if not state.session and thread in (None, state.own):
            self._begin_own(payload)
        elif thread is not None and thread != state.own and self._open is None and not state.has_turns:
            session = self._payloads.summary(payload, _SMALL_BYTES)
            self.state = replace(
                state, thread=thread, conversation=_conversation(payload, thread), session=session, is_copy=True,
                own_session=state.own_session or state.session, prompts=0, is_agent=agent_of(payload),
            )  # fmt: skip
        elif thread not in (state.own, state.thread):
            self._say(Draft("system", parts=(self._payloads.data("session_meta", payload),)), "item", is_preamble=True)

    def _begin_own(self, payload: _Record) -> None:
        made = moment(payload.get("timestamp"))
        until = payload.get("subagent_history_start_ordinal")
        parent = parent_of(payload)
        is_copy = isinstance(until, int) and until > 0 and parent is not None
        session = self._payloads.summary(payload, _SMALL_BYTES)
        own = self.state.own
        self.state = replace(
            self.state, thread=own, conversation=_conversation(payload, own), session=session,
            parent=parent, is_agent=agent_of(payload), created=made.timestamp() if made else None,
        )  # fmt: skip
        base = payload.get("history_base")
        if not self.state.is_agent and (parent or isinstance(base, dict)):
            named = text_or_none(base.get("thread_id")) if isinstance(base, dict) else None
            notes = {"forked_from": named or parent, "history_base": self._payloads.value(base)}
            self._note(**{name: value for name, value in notes.items() if value is not None})
        if is_copy and parent is not None:
            self.state = replace(
                self.state, thread=parent, conversation=parent, copied_until=until, is_copy=True, is_agent=False,
                own_session=session,
            )  # fmt: skip

    def _end_copy(self) -> None:
        """The own turns begin: one that was copied before it had ended is left to its own rollout if that is read."""
        cut_off = self._open is not None and not self._open.is_ended and self.state.task is not None
        if not (cut_off and self.state.thread in self._known_threads):
            self._close()
        self._open = None
        if self._lead is not None:
            self._lead.first_task = None  # it was the parent's, and no prompt followed
        state, session = self.state, self.state.own_session
        self.state = replace(
            state, thread=state.own, conversation=_conversation(session, state.own), session=session, own_session={},
            is_copy=False, is_agent=agent_of(session), prompts=0, copied_until=None, copied_at=None,
            started_by=state.active[-1] if state.active and agent_of(session) else None,
        )  # fmt: skip
        if state.active and not self.state.is_agent:
            shared = {"shared_from": state.active[0], "shared_up_to": state.active[-1]}
            self._note(forked_from=parent_of(session) or state.thread, **shared)

    def _take_context(self, payload: _Record) -> None:
        """What a request to the model was made with: its id begins a turn of the program's."""
        self._begin_task(payload.get("turn_id"))
        draft = self._beside()
        context = {key: value for key, value in payload.items() if key != "turn_id"}
        draft.note_among("contexts", self._payloads.summary(context, _SMALL_BYTES))
        if model := text_or_none(payload.get("model")):
            draft.model = draft.model or model
            self.state = replace(self.state, model=model)

    def _take_item(self, item: _Record, *, is_bare: bool = False) -> None:
        draft = item_draft(item, self._payloads)
        if draft is None:
            record = item if is_bare else {"type": "response_item", "payload": item}
            self._take_unknown(record, str(item.get("type") or item.get("record_type") or "object"))
        else:
            self._say(draft, "item", is_preamble=draft.role == "system" and "role" in item)

    def _take_event(self, event: _Record) -> None:
        kind = event.get("type")
        handle = _EVENTS.get(kind) if type(kind) is str else None
        if handle is not None:
            handle(self, event)
            return
        draft, origin = event_draft(event, self._payloads)
        if draft is None:
            self._take_unknown({"type": "event_msg", "payload": event}, str(kind))
        else:
            self._say(draft, origin, is_preamble=kind in _PREAMBLE_EVENTS)

    def _take_unknown(self, record: _Record, kind: str) -> None:
        part = self._payloads.data("record", record, name=kind)
        self._say(Draft("system", parts=(part,)), "item")
        if self._open is not None:
            self._open.unknown[kind] += 1

    def _take_compacted(self, payload: _Record) -> None:
        said = text_or_none(payload.get("message")) or ""
        rest = {key: value for key, value in payload.items() if key != "message"}
        part = self._payloads.data("compacted", rest)
        self._say(Draft("system", said, parts=(part,)), "item")

    def _take_world(self, payload: _Record) -> None:
        draft = Draft("system", parts=(self._payloads.data("world_state", payload),))
        self._say(draft, "item", is_preamble=True)

    def _take_between(self, payload: _Record) -> None:
        draft = Draft("system", parts=(self._payloads.data("inter_agent_communication", payload),))
        self._say(draft, "item")

    # --- events that are no messages ----------------------------------------------------------------------------------

    def _task_started(self, event: _Record) -> None:
        self._begin_task(event.get("turn_id"), says_so=True)
        self._beside().note("context_window", event.get("model_context_window"))

    def _task_ended(self, event: _Record) -> None:
        said = text_or_none(event.get("last_agent_message"))
        if said and not any(d and d.script.says(key_of("assistant", said)) for d in (self._open, self._lead)):
            self._say(Draft("assistant", said, key=key_of("assistant", said)), "event")
        if event.get("error"):
            self._say(Draft("system", parts=(self._payloads.data("error", event["error"]),)), "event")
        draft = self._beside()
        known = ("type", "turn_id", "last_agent_message", "error")
        rest = {key: value for key, value in event.items() if key not in known and value is not None}
        if rest:
            draft.note_among("tasks", self._payloads.summary(rest, _SMALL_BYTES))
        draft.is_ended = True
        self.state = replace(self.state, task_done=True)

    def _aborted(self, event: _Record) -> None:
        data = {key: value for key, value in event.items() if key != "type"}
        self._say(Draft("system", parts=(self._payloads.data("turn_aborted", data),)), "event")
        self._beside().is_ended = True
        self.state = replace(self.state, task_done=True)

    def _tokens_counted(self, event: _Record) -> None:
        """The cumulative count tells repeats from news; what counts is what the last request used."""
        draft, info = self._lead or self._open or self._beside(), event.get("info")
        draft.limits = event.get("rate_limits") or draft.limits
        if not isinstance(info, dict):
            return
        draft.counted = info
        total, last = info.get("total_token_usage"), info.get("last_token_usage")
        if not isinstance(total, dict) and not isinstance(last, dict):
            self._say(Draft("system", parts=(self._payloads.data("token_count", info),)), "event")
        elif total != self._total or not isinstance(total, dict):
            draft.spend(last if isinstance(last, dict) else _difference(total or {}, self._total))
            self._total = total if isinstance(total, dict) else None

    def _name_updated(self, event: _Record) -> None:
        self._name(event.get("thread_id") or self.state.own, event.get("thread_name"))

    def _rolled_back(self, event: _Record) -> None:
        """The last turns, so many as the event says, are no longer part of what the model is told."""
        count, active = event.get("num_turns"), self.state.active
        if isinstance(count, int) and count > 0 and active:
            self._note(inactive=list(active[-count:]))
            self.state = replace(self.state, active=active[:-count])

    def _name(self, thread: Any, name: Any) -> None:
        if text_or_none(thread) and text_or_none(name):
            self.notes.append(ConversationNoted(source=NAME, conversation=thread, title=name))

    def _note(self, **notes: Any) -> None:
        self.notes.append(ConversationNoted(source=NAME, conversation=self.state.conversation, notes=notes))

    # --- turns --------------------------------------------------------------------------------------------------------

    def _say(self, draft: Draft, origin: str, *, is_preamble: bool = False) -> None:
        draft.at = self._time
        if draft.is_plain and self._lead is None and self._open is not None:
            self._open.script.append(draft)  # which most are
            return
        if self.state.is_agent and (draft.is_prompt or draft.role == "user"):
            draft.role, draft.name, draft.is_prompt = "system", "parent", False
        if draft.is_prompt and not self._is_repeated(draft, origin):
            self._begin_turn(draft.content)
        target = self._open
        if target is None or self._lead is not None:
            target = self._lead_or_open() if is_preamble and not self.state.is_agent else self._at_work()
        target.script.add(draft, origin)

    def _is_repeated(self, draft: Draft, origin: str) -> bool:
        twin = self._open.script.twin(draft, origin) if self._open else None
        return twin is not None and twin.is_prompt

    def _begin_turn(self, text: str) -> None:
        """A prompt: the turn before is closed, unless all of it came before the first prompt."""
        if self._open is not None and not self._open.has_prompt:
            self._at_work()
        else:
            self._close()
            self._open, self._lead = self._lead or self._new(), None
            self._open.turn_id = identify(self.state, self._open, text)
            self.state = self.state.with_active(self._open.turn_id)
        self._open.has_prompt = True
        self.state = replace(self.state, prompts=self.state.prompts + 1, task_prompts=self.state.task_prompts + 1)

    def _begin_task(self, task: Any, *, says_so: bool = False) -> None:
        """The program begins a turn: what follows may be the preamble of the next prompt."""
        state = self.state
        named = text_or_none(task)
        if (named is None and not says_so) or (named == state.task and named is not None and not state.task_done):
            return
        self._lead = self._lead or (None if state.is_agent else self._new())
        if self._lead is not None:
            self._lead.first_task = self._lead.first_task or named
        self.state = replace(state, task=named, task_done=False, task_prompts=0)

    def _at_work(self) -> TurnDraft:
        """The open turn; what was held before it, or behind it, is part of it now."""
        lead = self._lead
        if lead is None and self._open is not None:
            return self._open
        self._lead = None
        if self._open is None:
            self._open = lead or self._new()
            self._open.turn_id = identify(self.state, self._open, "")
            self.state = self.state.with_active(self._open.turn_id)
        elif lead is not None:
            self._open.absorb(lead)
        return self._open

    def _lead_or_open(self) -> TurnDraft:
        if self._lead is None and self._open is None:
            self._lead = self._new()
        return self._lead or self._at_work()

    def _beside(self) -> TurnDraft:
        """Where something is noted that decides nothing."""
        return self._lead_or_open() if not self.state.is_agent else self._at_work()

    def _new(self) -> TurnDraft:
        return TurnDraft(
            self._time, Mark(*self._place(), replace(self._before, total=self._payloads.value(self._total)))
        )

    def _close(self) -> None:
        turn = self._open.turn(self.state, self._user, self._payloads) if self._open else None
        if turn is not None:
            self.closed.append(turn)
        self._open = None


def _conversation(session: _Record, thread: str) -> str:
    """An agent's thread is part of the session that it was started in."""
    if not agent_of(session):
        return thread
    return text_or_none(session.get("session_id")) or parent_of(session) or thread


def _difference(total: _Record, before: _Record | None) -> _Record:
    """What was used since the count before, where a rollout counts the whole only."""
    before = before or {}
    return {name: n - before.get(name, 0) for name, n in total.items() if type(n) is type(before.get(name, 0)) is int}


_RECORDS: dict[str, Callable[[TurnReader, _Record], None]] = {
    "session_meta": TurnReader._take_session,
    "turn_context": TurnReader._take_context,
    "response_item": TurnReader._take_item,
    "event_msg": TurnReader._take_event,
    "compacted": TurnReader._take_compacted,
    "world_state": TurnReader._take_world,
    "inter_agent_communication": TurnReader._take_between,
    "inter_agent_communication_metadata": TurnReader._take_between,
}

_EVENTS: dict[str, Callable[[TurnReader, _Record], None]] = {
    "task_started": TurnReader._task_started,
    "turn_started": TurnReader._task_started,
    "task_complete": TurnReader._task_ended,
    "turn_complete": TurnReader._task_ended,
    "turn_aborted": TurnReader._aborted,
    "token_count": TurnReader._tokens_counted,
    "thread_name_updated": TurnReader._name_updated,
    "thread_rolled_back": TurnReader._rolled_back,
}
