"""The moment that a line of Takeout's HTML tells in the words of the account's language and its local time.

`Aug 2, 2026, 10:24:25 PM CEST` (with U+202F before PM), `18 Sept 2025, 12:02:52 CET`, `02.08.2026, 22:24:25 MESZ`,
`10 de mai. de 2026, 03:46:09 BRT`, `2026年6月20日 00:28:51 CST`, `2026. 8. 2. 오후 10:24:25 KST`. The JSON of the same
export has the moment in UTC. Of what an abbreviation means, the zone that the user names decides first, where it uses
it; then this table, which takes CST to be China's in a date written as there, and otherwise America's, and IST India's.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo

DATE_CHARACTERS_MAX = 80
"""No longer line is a date."""

_TIME = re.compile(r"(?<!\d)(\d{1,2})[:.](\d{2})[:.](\d{2})(?!\d)")
_WORD = re.compile(r"[^\W\d_]+")
_OFFSET = re.compile(r"(?:GMT|UTC)? ?([+-])(\d{1,2}):?(\d{2})?")
_FORENOON = {"am", "a.m.", "a. m.", "上午", "午前", "오전"}
_AFTERNOON = {"pm", "p.m.", "p. m.", "下午", "午後", "오후"}
_NOISE = {"de", "del", "г", "年", "月", "日", "den", "kl", "at", "um", "à", "às", "thg", "tháng", "р"}

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen janv sty янв oca led tammi siječ січ",
            "feb fev fév févr lut фев şub helmi лют",
            "mar mär mrz mars maart mrt мар maalis бер",
            "apr avr abr kwi апр nis huhti кві",
            "may mai maj mag mei maio мая май touko тра",
            "jun juin giu cze июн haz kesä чер",
            "jul juil lug lip июл tem heinä лип",
            "aug ago août aoû sie авг ağu elo agu сер",
            "sep sept set wrz сен eyl syys вер",
            "oct okt out ott paź окт eki loka жов",
            "nov lis ноя kas marras лист",
            "dec dez dic déc gru дек ara joulu des гру",
        ),
        1,
    )
    for name in names.split()
}

_HOURS = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MEZ": 1, "WAT": 1, "CEST": 2, "MESZ": 2,
    "CAT": 2, "SAST": 2, "EET": 2, "OEZ": 2, "EEST": 3, "OESZ": 3, "MSK": 3,
    "TRT": 3, "EAT": 3, "IDT": 3, "AST": -4, "GST": 4,
    "PKT": 5, "IST": 5.5, "NPT": 5.75, "BDT": 6, "ICT": 7, "WIB": 7, "WITA": 8, "WIT": 9, "SGT": 8, "HKT": 8, "PHT": 8,
    "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CST": -6, "CDT": -5, "EST": -5, "EDT": -4, "ADT": -3, "NST": -3.5,
    "NDT": -2.5, "AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3, "BRST": -2, "ART": -3, "CLT": -4, "CLST": -3, "COT": -5,
    "PET": -5, "JST": 9, "KST": 9, "AWST": 8, "ACST": 9.5, "ACDT": 10.5, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip


def read_date(line: str, zone: tzinfo | None) -> datetime | None:
    """The moment in UTC that a line tells, if that is all that stands in it; `zone` is the user's, if it is known."""
    if len(line) > DATE_CHARACTERS_MAX:
        return None
    line = " ".join(unicodedata.normalize("NFKC", line).split())
    time = _TIME.search(line)
    if time is None:
        return None
    before, after = line[: time.start()].strip(" ,"), line[time.end() :].strip()
    half, before, after = _take_half(before, after)
    day = _read_day(before)
    if day is None or not after:
        return None
    hour, minute, second = map(int, time.groups())
    if half is not None:
        hour = hour % 12 + half
    try:
        return _in_utc(datetime(*day, hour, minute, second), after, zone, is_chinese="年" in line)  # noqa: DTZ001
    except (ValueError, OverflowError):
        return None


def _take_half(before: str, after: str) -> tuple[int | None, str, str]:
    """Whether 0 or 12 hours are to be added, and what is left around the time; None for a clock of 24 hours."""
    for hours, words in ((0, _FORENOON), (12, _AFTERNOON)):
        for word in sorted(words, key=len, reverse=True):
            if after.lower().startswith(word + " "):
                return hours, before, after[len(word) :].strip()
            if before.lower().endswith(word):
                return hours, before[: -len(word)].strip(" ,"), after
    return None, before, after


def _read_day(text: str) -> tuple[int, int, int] | None:
    """Year, month and day, in whichever order the language has them; None if anything else stands there too."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    words = [word for word in _WORD.findall(text.lower()) if word not in _NOISE]
    months = [month for month in map(_month, words) if month]
    if len(words) > 1 or len(months) != len(words) or max(numbers, default=0) < 1000:
        return None
    if months and len(numbers) == 2:
        day, year = sorted(numbers)
        return year, months[0], day
    if months or len(numbers) != 3:
        return None
    if numbers[0] >= 1000:
        return numbers[0], numbers[1], numbers[2]
    first, second, year = numbers
    return (year, first, second) if second > 12 else (year, second, first)


def _month(word: str) -> int:
    return next((_MONTHS[word[:length]] for length in (6, 5, 4, 3) if word[:length] in _MONTHS), 0)


def _in_utc(local: datetime, name: str, zone: tzinfo | None, *, is_chinese: bool) -> datetime | None:
    for fold in (0, 1):  # the hour that comes twice in autumn has two names
        told = local.replace(tzinfo=zone, fold=fold)
        if zone is not None and told.tzname() == name:
            return told.astimezone(UTC)
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        sign, hours, minutes = offset.groups()
        ahead = timedelta(hours=int(hours), minutes=int(minutes or 0)) * (1 if sign == "+" else -1)
    elif name in _HOURS:
        ahead = timedelta(hours=8 if name == "CST" and is_chinese else _HOURS[name])
    elif name.isalpha() and name.isupper() and len(name) <= 5:
        return local.replace(tzinfo=zone).astimezone(UTC) if zone else local.astimezone().astimezone(UTC)
    else:
        return None
    return local.replace(tzinfo=timezone(ahead)).astimezone(UTC)
