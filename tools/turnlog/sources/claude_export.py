r"""The source `claude`: Anthropic's export of a person's Claude.ai conversations.

Claude mails a link to a zip file, several batches for large accounts, with `conversations.json`, `projects.json` or
`projects/<uuid>.json`, `memories.json` and `users.json`. A conversation::

    {"uuid":"...","name":"...","summary":"","created_at":"2025-07-06T03:10:12.1Z","account":{"uuid":"..."},
     "chat_messages":[{"uuid":"...","text":"...","sender":"human","created_at":"...","parent_message_uuid":"...",
      "content":[{"type":"text","text":"...","citations":[]},{"type":"tool_use","name":"artifacts","input":{}},
       {"type":"tool_result","name":"artifacts","content":[{"type":"text","text":"OK"}]}],
      "attachments":[{"file_name":"a.pdf","file_size":9,"extracted_content":"..."}],"files":[{"file_name":"b.png"}]}]}

How it is read:

1. A turn is a human's message and what hangs from it, see `trees`. `parent_message_uuid` says what a message follows;
   without it, it follows the one before it, as branches lie flat in the order of time there. What is shown
   (`current_leaf_message_uuid`) only captures of the live interface tell; then the note `aside` names what is not.
2. A turn's id is that of the human's message, with the conversation's before it where it is no UUID.
3. The blocks in `content` are what was said; `text` is a rendering of them, and stands in for them where they have no
   text. Text blocks that touch are one text. Tool results are messages of the role tool, so that an answer with tools
   is several messages: the later ones have the id with `:1`, `:2`. Blocks that nobody knows are parts of their own
   type, and counted in `meta["unknown"]`.
4. What else is said of a message and its blocks is in `meta["messages"]`: citations, times, signatures, icons. The same
   turn from an export and from the live interface is the same, whatever each has of these.
5. Files are named; there are no bytes of them. What was extracted from an attachment is the text of its part.
6. Documents of Claude Design have `messages` with `contentBlocks` instead, and are read as the others are.
7. A project is no conversation and its documents nobody's prompts: they are kept beside the log, and named by notes of
   the project's id, as memories are by notes of their own. `users.json` says nothing of conversations and is left out.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, ClassVar

from eventlog import ConversationNoted
from turnlog.sources.base import Keep, Stream
from turnlog.sources.claude_export_messages import design_message, node_of
from turnlog.sources.export_conversations import Taken, Taking, updated_at
from turnlog.sources.export_parts import Payloads, dicts_at, digest_of, text_at, without
from turnlog.sources.exports import ExportSource
from turnlog.sources.objects import CannotRead
from turnlog.sources.trees import Node

_MEMORIES = ("conversations_memory", "project_memories")


class ClaudeExport(ExportSource):
    """Reads Claude.ai's exports; see the module."""

    name: ClassVar[str] = "claude"
    program: ClassVar[str] = "Claude.ai"

    @classmethod
    def is_own(cls, keys: Set[str]) -> bool:
        """Conversations have chat messages, documents of Claude Design messages and a uuid; projects have documents."""
        is_project = "uuid" in keys and ("docs" in keys or "prompt_template" in keys)
        is_design = {"uuid", "messages"} <= keys and not keys.isdisjoint({"project", "title"})
        return "chat_messages" in keys or is_design or is_project or not keys.isdisjoint(_MEMORIES)

    def taking(self, stream: Stream, keep: Keep) -> Taking:
        """See `ExportSource.taking`."""
        del stream  # an export has no files beside it
        return _Taking(self.name, self._user, Payloads(keep))


class _Taking(Taking):
    def take(self, record: Mapping[str, Any], meta: Mapping[str, Any]) -> Taken:
        if isinstance(record.get("chat_messages"), list):
            return self._take_conversation(record, dicts_at(record, "chat_messages"), meta)
        if isinstance(record.get("messages"), list):
            messages = [design_message(raw) for raw in dicts_at(record, "messages")]
            return self._take_conversation(record, messages, meta)
        if not set(_MEMORIES).isdisjoint(record):
            return Taken(notes=list(self._memories(record)))
        if "docs" in record or "prompt_template" in record:
            return Taken(notes=[self._project(record)])
        raise CannotRead("it has no chat_messages, so it is no conversation")

    def _take_conversation(
        self, record: Mapping[str, Any], messages: list[dict[str, Any]], meta: Mapping[str, Any]
    ) -> Taken:
        return self.conversation(
            text_at(record, "uuid") or digest_of([text_at(raw, "uuid") for raw in messages]),
            list(self._nodes(messages)),
            title=text_at(record, "name", "title") or None,
            shown=text_at(record, "current_leaf_message_uuid"),
            fields=without(record, "uuid", "name", "title", "chat_messages", "messages", "updated_at"),
            meta={**meta, **updated_at(record.get("updated_at"))},
        )

    def _nodes(self, messages: list[dict[str, Any]]) -> Iterator[Node]:
        """The nodes in order; one that names no message before it follows the one before it."""
        seen: set[str] = set()
        last: str | None = None
        for number, raw in enumerate(messages):
            node_id = text_at(raw, "uuid") or f"#{number}"
            if node_id in seen:  # once more, and then with something else to say
                node_id = f"{node_id}#{number}"
            seen.add(node_id)
            parent = text_at(raw, "parent_message_uuid") or last
            yield node_of(raw, node_id, parent, self.payloads)
            last = node_id

    def _memories(self, record: Mapping[str, Any]) -> Iterator[ConversationNoted]:
        """What Claude remembers of a person, and in each project."""
        of_projects = record.get("project_memories")
        of_projects = of_projects if isinstance(of_projects, dict) else {}
        rest = without(record, *(["project_memories"] if of_projects else []))
        if rest:
            yield self.note(f"memories:{text_at(record, 'account_uuid') or 'default'}", rest, "Memories")
        for project in sorted(of_projects):
            yield self.note(project or "default", {"memory": of_projects[project]})

    def _project(self, record: Mapping[str, Any]) -> ConversationNoted:
        """A project: each of its documents is kept, whatever its size, and named."""
        fields = without(record, "uuid", "name", "docs")
        docs = record.get("docs")
        kept = [self._document(doc) for doc in (docs if isinstance(docs, list) else [docs])]
        notes = {"project": fields, **without({"docs": kept if docs else None})}
        return self.note(text_at(record, "uuid") or digest_of(dict(record)), notes, text_at(record, "name") or None)

    def _document(self, doc: Any) -> Any:
        content = text_at(doc, "content")
        return {**without(doc, "content"), **self.payloads.kept(content.encode(), "text/plain")} if content else doc
