"""Decoding many lines at once, with exactly the fields that some folds declare."""

from datetime import datetime
from typing import Any, Union, get_type_hints

import msgspec
from msgspec import Struct, defstruct

from eventlog import EVENT_TYPES
from projections.fold import Fold


class _Decoded(Struct, tag_field="type", kw_only=True, gc=False):
    """Stands for an entry: it is every view of it that a fold has declared."""

    seq: int

    def view(self, _kind: type[Struct]) -> Any:
        return self


class BulkDecoder:
    """Decodes lines for some folds; `can_decode` is False if one of them has not declared what it reads."""

    def __init__(self, *folds: Fold[Any]) -> None:
        views = [view for fold in folds for view in fold.views]
        self.can_decode = all(set(fold.handlers) <= _tags(fold.views) <= set(EVENT_TYPES) for fold in folds)
        common = {"at": datetime} if any(fold.otherwise for fold in folds) else {}
        kinds = [_merged(tag, [v for v in views if v.__struct_config__.tag == tag], common) for tag in EVENT_TYPES]
        self._decode = msgspec.json.Decoder(Union[tuple(kinds)]).decode_lines  # noqa: UP007 - of as many as there are

    def decode(self, lines: bytes) -> list[Any] | None:
        """The events of some whole lines; None if one of them is of no type or shape that is known."""
        try:
            return self._decode(lines)
        except (msgspec.MsgspecError, RecursionError):
            return None


def _tags(views: tuple[type[Struct], ...]) -> set[Any]:
    return {view.__struct_config__.tag for view in views}


def _merged(tag: str, views: list[type[Struct]], common: dict[str, Any]) -> type[Struct]:
    """A struct with the fields of all views of one event type."""
    fields: dict[str, Any] = {name: (name, kind) for name, kind in common.items()}
    for view in views:
        hints = get_type_hints(view, include_extras=True)
        for field in msgspec.structs.fields(view):
            required = field.required
            fields[field.name] = (field.name, hints[field.name]) + (() if required else (field.default,))
    return defstruct(tag, fields.values(), bases=(_Decoded,), namespace={"type": tag}, tag=tag, kw_only=True, gc=False)
