"""Secrets in what is sent: every kind is found with its exact place, and nothing else is touched."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import Message, Part, TurnRecorded
from projections import message_names
from turnlog.redaction import MARKER, SHAPES, find_secrets, redact_text, redact_turn
from turnlog.testing.strategies import make_entry, turns

from .secret_samples import AWS_ID, CASES, IN_CONTEXT, JWT, ORDINARY, TOKENS, pem

GITHUB = next(secret for kind, secret in TOKENS if kind == "github_token")
ANCHORS = [anchor for shape in SHAPES for anchor in shape.anchors]
SOME, ENOUGH = 5_000, 1_000_000

SURROUNDINGS = [
    *(("'", "'"), ("=", ";"), ('":"', '"'), ("(", ")"), ("`", "`"), ("<b>", "</b>"), ("|", "|"), ("令牌", "。")),
    *(("\\n", "\\n"), ("%3D", "%26"), ("\\u0022", "\\u0022"), ("\x1b[0m", "\x1b[0m"), ("\\u001b[31m", "\\u001b[0m")),
]

BROKEN = st.sampled_from([secret for _, secret in TOKENS]).flatmap(
    lambda secret: st.integers(0, len(secret)).map(lambda at: secret[:at])
)
PIECES = st.one_of(
    st.sampled_from(["".join(case[1:]) for case in CASES]),
    st.sampled_from(
        [*ANCHORS, *ORDINARY, MARKER.format("jwt"), "[redacted:", "]", " ", "\n", "\\n", "-", "_", ".", "@"]
    ),
    BROKEN,
    st.text(max_size=5),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@pytest.mark.parametrize(("kind", "before", "secret", "behind"), CASES)
def test_a_secret_of_every_kind_is_replaced_and_nothing_else(kind: str, before: str, secret: str, behind: str) -> None:
    """Exactly its characters; what names it, and what is around it, stays."""
    for around in ("", "\n", " "):
        text = f"见{around}{before}{secret}{behind}{around}"
        assert redact_text(text) == (f"见{around}{before}[redacted:{kind}]{behind}{around}", {kind: 1})


def test_every_shape_has_an_example_and_a_source() -> None:
    """No kind is in the table that the test above does not try, and each says whose documentation it is from."""
    assert {shape.kind for shape in SHAPES} == {kind for kind, *_ in CASES}
    assert len(ANCHORS) == len(set(ANCHORS))
    assert all(shape.source for shape in SHAPES)


@pytest.mark.parametrize(("before", "behind"), SURROUNDINGS)
def test_a_token_is_found_in_any_surroundings(before: str, behind: str) -> None:
    """Quoted, assigned, escaped for JSON, a URL or a terminal, between Chinese characters, in Markdown and HTML."""
    for kind, secret in TOKENS:
        assert redact_text(before + secret + behind) == (f"{before}[redacted:{kind}]{behind}", {kind: 1})


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_untouched(text: str) -> None:
    """Prose in several languages, code, placeholders, UUIDs, hashes, images, public keys: the very same object."""
    assert redact_text(text)[0] is text


@given(st.text(st.characters(exclude_characters="ZXJKzGBxTES9/.-_")))
def test_text_without_anchors_is_the_same_object(text: str) -> None:
    """Every anchor has one of these characters, so that nothing else is even looked at."""
    redacted, counts = redact_text(text)
    assert redacted is text
    assert not counts


@given(TEXTS)
def test_redaction_is_idempotent(text: str) -> None:
    """However secrets, halves of them, anchors and markers are put together: a second time finds nothing."""
    redacted, counts = redact_text(text)
    assert redact_text(redacted) == (redacted, {})
    assert (redacted is text) == (not counts)


@given(TEXTS)
def test_what_is_found_is_apart_and_in_order(text: str) -> None:
    """The places that are told are those that are replaced: all else is still there."""
    secrets = find_secrets(text)
    edges = [edge for secret in secrets for edge in (secret.start, secret.end)]
    assert edges == sorted(edges)
    assert all(secret.start < secret.end for secret in secrets)
    rest, done = [], 0
    for secret in secrets:
        rest += [text[done : secret.start], f"[redacted:{secret.kind}]"]
        done = secret.end
    assert redact_text(text)[0] == "".join([*rest, text[done:]])


def test_a_key_that_was_cut_off_is_taken_out_to_the_end_of_its_base64() -> None:
    """Without its end, in the middle of a line or at the end of one; what is said afterwards stays."""
    whole = pem("RSA PRIVATE KEY")
    cut = whole[: whole.index("==\n")]
    assert redact_text(cut)[0] == "[redacted:private_key]"
    assert redact_text(f"{cut}\nand then I said: run it")[0] == "[redacted:private_key]\nand then I said: run it"
    assert redact_text(f'"{cut[:200]}"}}')[0] == '"[redacted:private_key]"}'
    encrypted = whole.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\n", 1)
    assert redact_text(encrypted)[0] == "[redacted:private_key]"


def test_secrets_that_overlap_are_one() -> None:
    """A token in a header, or as a password; a token as a URL's user beside a password is another."""
    assert redact_text(f"Authorization: Bearer {JWT}")[0] == "Authorization: Bearer [redacted:authorization]"
    assert redact_text(f"https://x:{GITHUB}@h")[0] == "https://x:[redacted:url_password]@h"
    both, counts = redact_text(f"https://{GITHUB}:x-oauth-basic@h")
    assert both == "https://[redacted:github_token]:[redacted:url_password]@h"
    assert counts == {"github_token": 1, "url_password": 1}


def test_the_prefix_never_is_part_of_what_is_secret() -> None:
    """It is what all of the kind begin with; passwords, keys and credentials have none."""
    for kind, before, secret, behind in CASES:
        (found,) = find_secrets(before + secret + behind)
        assert found.prefix in ANCHORS if (kind, secret) in TOKENS else found.prefix == ""
        assert secret.startswith(found.prefix)


HOSTILE = [
    *ANCHORS,
    *(before for _, before, _, _ in IN_CONTEXT),
    *(secret[: len(secret) // 2] for _, secret in TOKENS),
    *(f"{anchor} " for anchor in ANCHORS),
    *(f"{anchor}a-" for anchor in ANCHORS),
    *(f".{anchor}" for anchor in ANCHORS),
    *(f"\\n{anchor}" for anchor in ANCHORS),
    *("-----BEGIN PRIVATE KEY-----", "\\", "://a:", "://a:b", "@://:", "eyJaaaaaaaaaa.eyJ", "Authorization: Bearer "),
]
TAILS = [
    ("", "a"),
    ("", "."),
    ("", "="),
    ("", " "),
    ("", "\\"),
    ("", "-"),
    ("", "\n"),
    ("a" * 20, "@"),
    ("Bearer ", "+"),
]


LONG = ["://a:b", "eyJaaaaaaaaaa.", "ghs_.", "Authorization: Basic a.", "\\", "xoxb- ", "://", "sk-proj-"]


@pytest.mark.timeout(60)
def test_hostile_text_costs_no_more_than_it_is_long() -> None:
    """Everything that a pattern begins with, again and again or before a long run, and all of it up to 1 MB."""
    for piece in HOSTILE:
        find_secrets(piece * (SOME // len(piece)))
    for anchor in ANCHORS:
        for start, character in TAILS:
            find_secrets(anchor + start + character * SOME)
    for piece in LONG:
        find_secrets(piece * (ENOUGH // len(piece)))
    for anchor in ("eyJ", "://a:", "ghs_", "sk-proj-", "Authorization: Bearer ", "-----BEGIN PRIVATE KEY-----"):
        find_secrets(anchor + "a" * ENOUGH)


SECRET_VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in items for text in strings(item)]


def said(turn: TurnRecorded) -> list[str]:
    """Every string of a turn in which a secret may be."""
    texts = [turn.usage, turn.meta]
    for message in turn.messages:
        texts += [message.content, message.name, *((p.name, p.text, p.data) for p in message.parts)]
    return strings(texts)


@given(turns(), SECRET_VALUES, TEXTS)
def test_all_that_was_said_in_a_turn_is_redacted_and_its_identity_stays(
    turn: TurnRecorded, data: Any, text: str
) -> None:
    """Contents, names, parts, usage and meta, to any depth; counted; read back from the log as from memory."""
    part = Part(type="tool_result", id=GITHUB, name=text, text=text, data=data, digest=AWS_ID)
    message = Message("tool", content=text, id=JWT, name=text, parts=(part,))
    fields = {"turn_id": GITHUB, "conversation": AWS_ID, "user": JWT, "source": AWS_ID}
    turn = TurnRecorded(**fields, usage={GITHUB: data}, meta={"a": [data]}, messages=(*turn.messages, message))
    redacted, counts = redact_turn(turn)
    expected = [redact_text(value) for value in said(turn)]
    assert said(redacted) == [value for value, _ in expected]
    assert counts == dict(sum((Counter(kinds) for _, kinds in expected), Counter()))
    assert {name: getattr(redacted, name) for name in fields} == fields
    assert message_names(redacted) == message_names(turn)
    assert (redacted.messages[-1].parts[0].id, redacted.messages[-1].parts[0].digest) == (GITHUB, AWS_ID)
    assert list(redacted.usage or {}) == [GITHUB], "the keys of a dict are left alone"
    assert redact_turn(redacted) == (redacted, {})
    read = make_entry(turn, seq=1).event
    assert isinstance(read, TurnRecorded)
    assert redact_turn(read) == (redacted, counts)


@given(turns())
def test_a_turn_without_secrets_is_the_same_object(turn: TurnRecorded) -> None:
    """Also where an anchor is in it, and no secret."""
    assert redact_turn(turn)[0] is turn
    message = Message("user", "see https://example.com", parts=(Part("x", data={"a": ["b", ("://",)]}),))
    turn = TurnRecorded(turn_id="t", messages=(*turn.messages, message))
    assert redact_turn(turn) == (turn, {})
    assert redact_turn(turn)[0] is turn


@pytest.mark.parametrize("depth", [129, 400, 5000])
def test_what_is_nested_too_deeply_to_be_looked_at_does_not_leave(depth: int) -> None:
    """It is taken out as a whole, and counted: a secret may be at the bottom."""
    data: Any = GITHUB
    for _ in range(depth):
        data = [data]
    redacted, counts = redact_turn(
        TurnRecorded(turn_id="t", messages=(Message("user", parts=(Part("x", data=data),)),))
    )
    assert counts == {"nested_too_deeply": 1}
    assert strings(redacted.messages[0].parts[0].data) == ["[redacted:nested_too_deeply]"]


def test_a_secret_that_is_split_between_two_fields_is_not_found() -> None:
    """Each text is looked at by itself, as the module says."""
    half = len(GITHUB) // 2
    turn = TurnRecorded(turn_id="t", messages=(Message("user", GITHUB[:half]), Message("user", GITHUB[half:])))
    assert redact_turn(turn)[0] is turn
