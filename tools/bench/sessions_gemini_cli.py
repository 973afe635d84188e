"""Sessions of Gemini CLI as its versions since April 2026 write them, line by line.

Twenty turns a session, some 15 lines a turn and 4 KB a line (so the samples' mean): each message with tool calls stands
there twice, first without and then with them and what they gave, which is whole files; a `$set` follows each message.
"""

from collections.abc import Iterator
from typing import Any

from speech import Speech

_TURNS = 20
_PROMPT = (10, 30, 130, 600, 2400, 9000)
_TEXT = (0, 1, 140, 400, 1500, 4000)
_THOUGHT = (60, 120, 300, 420, 600, 900)
_ARGUMENT = (10, 30, 80, 900, 9000, 20_000)
_OUTPUT = (20, 60, 2500, 12_000, 25_000, 40_000)
_DESCRIPTION = (200, 250, 400, 600, 700, 900)
_Record = dict[str, Any]


def gemini_cli_session(speech: Speech, number: int) -> Iterator[tuple[str, list[_Record]]]:
    """The file of a session."""
    session = speech.uuid()
    path = f"tmp/project-{number % 12}/chats/session-2026-04-23T08-00-{session[:8]}.jsonl"
    yield path, [_opening(speech, session), *(record for _ in range(_TURNS) for record in _turn(speech))]


def _opening(speech: Speech, session: str) -> _Record:
    moment = speech.moment()
    return {
        "sessionId": session,
        "projectHash": f"{speech.random.getrandbits(256):064x}",
        "startTime": moment,
        "lastUpdated": moment,
        "kind": "main",
    }


def _turn(speech: Speech) -> Iterator[_Record]:
    moment = speech.moment()
    yield {"id": speech.uuid(), "timestamp": moment, "type": "user", "content": [{"text": speech.text(_PROMPT)}]}
    yield {"$set": {"lastUpdated": moment}}
    for _ in range(2 + speech.number(6)):
        message = _message(speech)
        yield message
        yield {"$set": {"lastUpdated": message["timestamp"]}}
        if speech.happens(0.8):
            yield {**message, "toolCalls": [_call(speech) for _ in range(1 + speech.number(2))]}


def _message(speech: Speech) -> _Record:
    tokens = {name: speech.number(9000) for name in ("input", "output", "cached", "thoughts", "tool", "total")}
    thought = {"subject": "Looking at it", "description": speech.text(_THOUGHT), "timestamp": speech.moment()}
    return {
        "id": speech.uuid(),
        "timestamp": speech.moment(),
        "type": "gemini",
        "content": speech.text(_TEXT),
        "thoughts": [thought],
        "tokens": tokens,
        "model": "gemini-3-flash-preview",
    }


def _call(speech: Speech) -> _Record:
    call, output = f"read_file_{speech.number(10**13)}_0", speech.text(_OUTPUT)
    answer = {"functionResponse": {"id": call, "name": "read_file", "response": {"output": output}}}
    return {
        "id": call,
        "name": "read_file",
        "args": {"file_path": speech.text(_ARGUMENT)},
        "result": [answer],
        "status": "success",
        "timestamp": speech.moment(),
        "resultDisplay": "",
        "displayName": "ReadFile",
        "description": speech.text(_DESCRIPTION),
        "renderOutputAsMarkdown": True,
    }
