r"""The source `chatgpt`: OpenAI's export of a person's ChatGPT conversations.

ChatGPT mails a link to a zip file with `conversations.json`, since 2026 `conversations-000.json` and so on, the files
that were uploaded and made, and small files beside them; one of several zips, or zips in a zip, where that is large.
A conversation is a tree::

    {"id":"...","conversation_id":"...","title":"...","create_time":1745.0,"current_node":"m2","gizmo_id":null,
     "mapping":{"r":{"id":"r","message":null,"parent":null,"children":["m1"]},
      "m1":{"id":"m1","parent":"r","children":["m2"],"message":{"id":"m1","author":{"role":"user"},"create_time":1745.0,
       "content":{"content_type":"text","parts":["Hello"]},"weight":1.0,"recipient":"all",
       "metadata":{"attachments":[{"id":"file-ABC","name":"a.png"}]}}},
      "m2":{...,"message":{"author":{"role":"assistant"},"metadata":{"model_slug":"gpt-4o"},...}}}}

How it is read:

1. A turn is a user's message and what hangs from it, see `trees`: all branches. `current_node` tells which are shown;
   the note `aside` names the turns and messages that are not.
2. A turn's id is that of the user's message, with the conversation's before it where it is no UUID. What hangs from no
   user's message belongs to the first turn, or is a turn by itself.
3. Messages that are hidden (`weight` 0, `is_visually_hidden_from_conversation`) are kept: those of a user, custom
   instructions for one, in the role system; those of others are named in `meta["hidden"]`. A message in which nothing
   is said is none, but what its metadata say is kept.
4. A message to another recipient than all is a tool call, one by a tool its result, `thoughts` are thinking. Content
   types and pieces that nobody knows are parts of their own type, and counted in `meta["unknown"]`.
5. What else the program says of messages is in `meta["messages"]`: it changes from export to export (citations, request
   ids, ratings), and a turn whose messages are the same is the same turn.
6. Assets are parts by their pointer and name; those that are in the export are kept, up to 64 MiB each, see
   `chatgpt_assets`. Assets that no message names are not.
7. Fields of a conversation, ratings (`message_feedback.json`), shares (`shared_conversations.json`) and comparisons
   (`model_comparisons.json`) are notes. `user.json`, settings and `chat.html`, which says it all again, are left out.

Turns of a conversation that a branch or a share has copied with their ids are recorded once; the note `shares` of the
later conversation names them.
"""

from collections.abc import Mapping, Set
from math import inf
from typing import Any, ClassVar

from turnlog.sources.base import Keep, Stream
from turnlog.sources.chatgpt_assets import Assets
from turnlog.sources.chatgpt_messages import node_of
from turnlog.sources.export_conversations import Taken, Taking, updated_at
from turnlog.sources.export_parts import Payloads, digest_of, text_at, without
from turnlog.sources.exports import ExportSource
from turnlog.sources.objects import CannotRead
from turnlog.sources.trees import Node

_SIDE = {"rating": "feedback", "is_anonymous": "shared", "input": "comparison"}
"""What a record about a conversation has that is none itself, and what the note of it is called."""


class ChatGpt(ExportSource):
    """Reads ChatGPT's exports; see the module."""

    name: ClassVar[str] = "chatgpt"
    program: ClassVar[str] = "ChatGPT"

    @classmethod
    def is_own(cls, keys: Set[str]) -> bool:
        """Conversations have a mapping; what is said of them has their id, and one of few other names."""
        return "mapping" in keys or ("conversation_id" in keys and not keys.isdisjoint(_SIDE))

    def taking(self, stream: Stream, keep: Keep) -> Taking:
        """See `ExportSource.taking`."""
        payloads = Payloads(keep)
        return _Taking(self._user, payloads, Assets([stream.path, *self._places], self._limits, payloads))


class _Taking(Taking):
    def __init__(self, user: str, payloads: Payloads, assets: Assets) -> None:
        super().__init__(ChatGpt.name, user, payloads)
        self._assets = assets

    def close(self) -> None:
        self._assets.close()

    def take(self, record: Mapping[str, Any], meta: Mapping[str, Any]) -> Taken:
        if isinstance(record.get("mapping"), dict):
            return self._take_conversation(record, meta)
        kind = next((kind for name, kind in _SIDE.items() if name in record), None)
        conversation = text_at(record, "conversation_id")
        if kind is None or not conversation:
            raise CannotRead("it has no mapping, so it is no conversation")
        name = text_at(record, "id") or digest_of(record)
        return Taken(notes=[self.note(conversation, {f"{kind}:{name}": without(record)})])

    def _take_conversation(self, record: Mapping[str, Any], meta: Mapping[str, Any]) -> Taken:
        mapping = record["mapping"]
        gizmo = without({name: record.get(name) for name in ("gizmo_id", "gizmo_type")})
        return self.conversation(
            text_at(record, "conversation_id", "id") or digest_of(sorted(mapping)),
            self._nodes(mapping),
            title=text_at(record, "title") or None,
            shown=text_at(record, "current_node"),
            fields=without(record, "mapping", "title", "id", "conversation_id", "update_time"),
            meta={**meta, **gizmo, **updated_at(record.get("update_time"))},
        )

    def _nodes(self, mapping: Mapping[str, Any]) -> list[Node]:
        """The nodes, siblings in the order in which the one that they follow names them."""
        rank: dict[str, int] = {}
        for raw in mapping.values():
            children = raw.get("children") if isinstance(raw, dict) else None
            for position, child in enumerate(children if isinstance(children, list) else []):
                if isinstance(child, str):
                    rank.setdefault(child, position)
        nodes = [
            node_of(node_id, raw if isinstance(raw, dict) else {"message": raw}, self.payloads, self._assets)
            for node_id, raw in mapping.items()
        ]
        return sorted(nodes, key=lambda n: (rank.get(n.id, inf), n.at.timestamp() if n.at else inf, n.id))
