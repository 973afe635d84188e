"""Rollouts of Codex as its versions of 2026 write them, in envelopes.

Forty turns a rollout, some 55 lines a turn and 0.9 KB a line (so the samples' mean): what the model was given and gave
(`response_item`), what the user was shown of it (`event_msg`, which says much of it again), counts of tokens, thoughts
that are encrypted.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from speech import Speech

_TURNS = 40
_PROMPT = (10, 30, 130, 600, 4000, 9000)
_TEXT = (20, 60, 200, 900, 2500, 5000)
_SUMMARY = (40, 80, 200, 500, 900, 1500)
_ENCRYPTED = (300, 500, 900, 2500, 6000, 9000)
_COMMAND = (5, 15, 80, 500, 1700, 8000)
_OUTPUT = (10, 60, 900, 5000, 9000, 12_000)
_Record = dict[str, Any]


def codex_session(speech: Speech, number: int) -> Iterator[tuple[str, list[_Record]]]:
    """The file of a rollout."""
    thread = _uuid7(speech)
    session = _Rollout(speech, thread)
    records = [session.opening(), *(record for _ in range(_TURNS) for record in session.turn())]
    day = 1 + number % 28
    yield f"sessions/2026/03/{day:02}/rollout-2026-03-{day:02}T08-00-00-{thread}.jsonl", records


def _uuid7(speech: Speech) -> str:
    text = speech.uuid()
    return f"019ca{text[5:14]}7{text[15:]}"


class _Rollout:
    def __init__(self, speech: Speech, thread: str) -> None:
        self._speech = speech
        self._thread = thread
        self._total = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens", "total_tokens"), 0)

    def opening(self) -> _Record:
        about = {
            "id": self._thread,
            "timestamp": self._speech.moment(),
            "cwd": "/home/dev/project",
            "originator": "codex-tui",
            "cli_version": "0.142.2",
            "source": "cli",
            "model_provider": "openai",
            "base_instructions": {"text": self._speech.text((9000,) * 6)},
            "git": {"commit_hash": "a" * 40, "branch": "main", "repository_url": "https://example.com/project"},
        }
        return self._line("session_meta", about)

    def turn(self) -> Iterator[_Record]:
        speech, turn, prompt = self._speech, _uuid7(self._speech), self._speech.text(_PROMPT)
        yield self._event("task_started", turn_id=turn, model_context_window=258_400)
        yield self._context(turn)
        yield self._item("message", turn, role="user", content=[{"type": "input_text", "text": prompt}])
        yield self._event("user_message", message=prompt, images=[], local_images=[], text_elements=[])
        for _ in range(3 + speech.number(10)):
            yield from self._step(turn)
        said = speech.text(_TEXT)
        yield from self._say(turn, said)
        yield self._event("task_complete", turn_id=turn, last_agent_message=said)

    def _step(self, turn: str) -> Iterator[_Record]:
        speech, call = self._speech, self._speech.token("call")
        summary = speech.text(_SUMMARY)
        yield self._event("agent_reasoning", text=summary)
        thought = [{"type": "summary_text", "text": summary}]
        yield self._item("reasoning", turn, summary=thought, content=None, encrypted_content=speech.secret(_ENCRYPTED))
        if speech.happens(0.4):
            yield from self._say(turn, speech.text(_TEXT))
        given = msgspec.json.encode({"command": ["bash", "-lc", speech.text(_COMMAND)]}).decode()
        yield self._item("function_call", turn, name="shell", arguments=given, call_id=call)
        yield self._tokens()
        yield self._item("function_call_output", turn, call_id=call, output=speech.text(_OUTPUT))

    def _say(self, turn: str, text: str) -> Iterator[_Record]:
        yield self._event("agent_message", message=text, phase="commentary")
        content = [{"type": "output_text", "text": text}]
        yield self._item("message", turn, role="assistant", content=content, phase="commentary")

    def _tokens(self) -> _Record:
        spent = {"input_tokens": 9000, "cached_input_tokens": 8000, "output_tokens": self._speech.number(900)}
        last = {**spent, "total_tokens": sum(spent.values())}
        self._total = {name: count + last[name] for name, count in self._total.items()}
        info = {"total_token_usage": self._total, "last_token_usage": last, "model_context_window": 258_400}
        window = {"used_percent": 12.5, "window_minutes": 300, "resets_at": 1_772_000_000}
        return self._event("token_count", info=info, rate_limits={"limit_id": "codex", "primary": window})

    def _context(self, turn: str) -> _Record:
        about = {
            "turn_id": turn,
            "cwd": "/home/dev/project",
            "approval_policy": "never",
            "sandbox_policy": {"type": "danger-full-access"},
            "model": "gpt-5.3-codex",
            "effort": "high",
            "summary": "auto",
            "user_instructions": self._speech.text((400,) * 6),
        }
        return self._line("turn_context", about)

    def _item(self, kind: str, turn: str, **fields: Any) -> _Record:
        passed = {"internal_chat_message_metadata_passthrough": {"turn_id": turn}}
        return self._line("response_item", {"type": kind, **fields, **passed})

    def _event(self, kind: str, **fields: Any) -> _Record:
        return self._line("event_msg", {"type": kind, **fields})

    def _line(self, kind: str, payload: _Record) -> _Record:
        return {"timestamp": self._speech.moment(), "type": kind, "payload": payload}
