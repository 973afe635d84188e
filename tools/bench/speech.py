"""What is said in generated sessions: texts of real lengths, cut out of one long text that is the same in each run.

Lengths are drawn from the quantiles of the lines of real sessions (measured on the samples that facts/formats.md tells
of; what stands round a text in its line is taken off). The long text is mostly English prose, code and output of
tools, with the quotes and newlines that cost a JSON decoder time; an eighth has typographic marks, a twelfth is
Chinese, as the samples' lines are (a sixth of Claude Code's are not ASCII, a third of Gemini CLI's).
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

Lengths = Sequence[int]
"""The length in characters that none, a tenth, half, nine tenths, 99 of a hundred and all texts do not exceed."""

_SHARES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)
_LONG_CHARACTERS = 2_000_000
_BEGINNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_STRETCH_CHARACTERS = 4000
_PLAIN = (
    "The request reached the server and its answer was lost on the way back, so nobody knew if to send it again.\n",
    'Let me look at "retry" first: the log says it was delivered twice, and the test only counts what was accepted.\n',
    "    def append(self, event: Event) -> int:\n        return self.append_many((event,))[0]\n",
    'src/delivery/worker.py:118:    raise Unavailable(f"{self.name!r} does not answer") from error\n',
    "-rw-r--r--  1 dev dev   4096 Mar  2 08:14 docs/operations.md\n",
    '{"name": "turn", "count": 42, "items": ["a", "b"], "ok": true}\n',
    "+    if (status >= 500 && attempt < limit) { await sleep(delay * 2 ** attempt); }\n",
    "| case | value | unit |\n|---|---|---|\n| append | 41,000 | events/s |\n",
    "FAILED tests/test_worker.py::test_retry - AssertionError: assert 2 == 1\n",
)
_MARKED = (
    *_PLAIN,
    "  ✓ passes when the connection breaks after the request (12 ms)\n",
    "     127→\tfor line in file:\n     128→\t\tcount += 1\n",
)
_CHINESE = (
    "下一次启动时先问服务器有没有收到，再决定要不要重发。",
    "能解释一下原因吗？\n",
    "測試通過了，但是 `retry` 還是會重複送出。\n",
)
_STRETCHES = (*(_PLAIN,) * 20, *(_MARKED,) * 3, *(_CHINESE,) * 2)


class Speech:
    """Draws texts, identifiers and moments; equal seeds draw the same."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - a sample, no secret
        times = _LONG_CHARACTERS // _STRETCH_CHARACTERS // len(_STRETCHES)
        self._long = "".join(map(self._stretch, _STRETCHES * times))
        self._secret = base64.b64encode(self.random.randbytes(60_000)).decode()
        self._moment = _BEGINNING

    def text(self, lengths: Lengths) -> str:
        """A text of a length drawn from those."""
        return self._cut(self._long, self.length(lengths))

    def secret(self, lengths: Lengths) -> str:
        """The same in base64, as signatures and encrypted thoughts are."""
        return self._cut(self._secret, self.length(lengths))

    def length(self, lengths: Lengths) -> int:
        """A length, between two quantiles evenly by its logarithm."""
        share = self.random.random()
        upper = next(i for i in range(1, len(_SHARES)) if share <= _SHARES[i])
        low, high = max(1, lengths[upper - 1]), max(1, lengths[upper])
        within = (share - _SHARES[upper - 1]) / (_SHARES[upper] - _SHARES[upper - 1])
        return int(low * (high / low) ** within)

    def uuid(self) -> str:
        """A new identifier."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def token(self, prefix: str) -> str:
        """A new identifier as model providers write them."""
        return f"{prefix}_{self.random.getrandbits(120):030x}"

    def number(self, most: int) -> int:
        """A count."""
        return self.random.randrange(most)

    def happens(self, share: float) -> bool:
        """Whether what happens so often happens now."""
        return self.random.random() < share

    def moment(self) -> str:
        """The next moment, some seconds behind the last, as JavaScript writes it."""
        self._moment += timedelta(milliseconds=self.random.randrange(9000))
        return self._moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self._moment.microsecond // 1000:03}Z"

    def _stretch(self, lines: Sequence[str]) -> str:
        """Some of the lines, again and again in another order."""
        return "".join(self.random.choices(lines, k=_STRETCH_CHARACTERS // 70))

    def _cut(self, text: str, length: int) -> str:
        start = self.random.randrange(len(text) - length)
        return text[start : start + length]
