import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnlog.sources import documents
from turnlog.sources.documents import Document, Element, keys_at_head
from turnlog.sources.objects import NESTING_MAX

CONVERSATION = {"title": "t", "mapping": {"a": {"id": "a", "parts": ['{}[]\\" 😀', {"title": "in it"}]}}}


def elements(content: bytes | str) -> list[Element]:
    data = content if isinstance(content, bytes) else content.encode()
    return list(Document(io.BytesIO(data), lambda keys: "mapping" in keys).elements())


def numbered(count: int) -> list[dict[str, Any]]:
    return [{**CONVERSATION, "n": number} for number in range(count)]


def records(found: list[Element]) -> list[dict[str, Any]]:
    return [element.record for element in found if element.record]


@pytest.fixture(params=[64, 1000, 2**20])
def window_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows so small that everything is cut by one, and one that holds it all."""
    monkeypatch.setattr(documents, "WINDOW_BYTES", request.param)
    return int(request.param)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(), values, min_size=1), max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_all_objects_are_found(objects: list[dict[str, Any]], indent: int | None, ascii_only: bool) -> None:
    """Any JSON objects, in any layout: each is what json.loads makes of it."""
    text = json.dumps(objects, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = elements(text)
    assert [element.number for element in found] == list(range(1, len(objects) + 1))
    for element, expected in zip(found, objects, strict=True):
        assert element.record == expected or element.replaced or "Infinity" in str(element.record)


@pytest.mark.usefixtures("window_bytes")
def test_windows_cut_nothing() -> None:
    """Objects, strings, escapes and characters that a window's end goes through are whole."""
    for ascii_only in (True, False):
        found = elements(json.dumps(numbered(30), ensure_ascii=ascii_only))
        assert records(found) == numbered(30)
        assert not any(element.damage for element in found)


@pytest.mark.usefixtures("window_bytes")
@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda text: text.replace('"n": 2}', '"n": 2'), 1),
        (lambda text: text.replace('"n": 2}', '"n": 2}}]'), 0),
        (lambda text: text.replace('"n": 2}', '"n" 2}'), 1),
        (lambda text: text.replace('"n": 2}', '"n": \0\0\0}'), 1),
        (lambda text: text.replace('"title": "t", "mapping"', '"title": "t, "mapping"', 1), 1),
        (lambda text: text[: len(text) // 2 - 20] + text[len(text) // 2 :], 1),
        (lambda text: text[:-40], 1),
        (lambda text: text[40:], 1),
        (lambda text: text.replace('}, {"title": "t"', '} ,,\r\n {"title": "t"').replace("[{", "[[{", 1), 0),
    ],
    ids=["no brace", "more braces", "no colon", "NULs", "no quote", "splice", "torn tail", "torn head", "odd layout"],
)  # fmt: skip
def test_damage_costs_the_object_that_it_is_in(change: Any, lost: int) -> None:
    """The others are read; what was damaged is told, byte for byte."""
    text = change(json.dumps(numbered(6)))
    found = elements(text)
    assert len(records(found)) == 6 - lost
    damaged = [element for element in found if element.damage]
    assert len(damaged) == lost
    assert all(element.raw and element.raw.decode() in text for element in damaged)


def test_bytes_that_are_no_text_cost_themselves() -> None:
    """The object is read with U+FFFD in their place; they are told."""
    (element,) = elements(b'[{"mapping": "a\xff\xfeb\xe4"}]')
    assert (element.record, element.raw) == ({"mapping": "a\ufffd\ufffdb\ufffd"}, b"\xff\xfe\xe4")
    assert element.damage == "3 bytes in it are not valid UTF-8; the rest of it was read"


def test_deep_nesting_is_damage() -> None:
    """A thousand levels, and ten thousand without an end."""
    deep = '{"mapping":' * 1500 + "1" + "}" * 1500
    good = json.dumps(CONVERSATION)
    found = elements(f"[{good},{deep},{good}]")
    assert found[0].record == CONVERSATION
    assert found[1].damage == f"it is nested more than {NESTING_MAX} levels deep"
    assert elements("[" + '{"a":[' * 10_000)[0].damage


def test_an_object_without_an_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up in pieces at the limit; what is behind it is read."""
    monkeypatch.setattr(documents, "WINDOW_BYTES", 1000)
    monkeypatch.setattr(documents, "OBJECT_CHARS_MAX", 20_000)
    text = '{"mapping": "' + "x" * 100_000 + '"}'
    found = elements(f"[{json.dumps(CONVERSATION)},{text},{json.dumps(CONVERSATION)}]")
    assert records(found) == [CONVERSATION, CONVERSATION]
    assert "it is longer than 20000 characters" in [element.damage for element in found]
    assert max(len(element.raw) for element in found) < 60_000
    assert b"".join(element.raw for element in found) == text.encode()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ['{"a":[', '{"a":"', '{"mapping":{}', '{"mapping":{}},{x,', '},{"title":"\\"'])
def test_no_megabyte_takes_long(piece: str) -> None:
    """Beginnings in beginnings, deep or side by side, each with an error: the time is in proportion to the bytes."""
    text = '[{"title": "' + piece * (1_000_000 // len(piece))
    assert elements(text)
    assert len(list(keys_at_head(text.encode()))) < 1_000_000


def test_the_names_of_the_first_objects_tell_what_a_document_is() -> None:
    """Names at the top of each object alone, also of one that is cut; none in strings or deeper."""
    text = json.dumps([{"a": {"deep": 1}, "b": '{"c": 1}'}, {"d": [{"e": 1}], 'f"g': 2}])
    assert list(keys_at_head(text.encode())) == [{"a", "b"}, {"d", 'f\\"g'}]
    assert list(keys_at_head(f'\ufeff{{"conversations": {text[:40]}'.encode())) == [{"a", "b"}]
    assert list(keys_at_head(b'{"a": "no end')) == [{"a"}]
    for nothing in (b"", b"[]", b"[1, 2]", b'"text"', b"\xff\xff"):
        assert list(keys_at_head(nothing)) == []
