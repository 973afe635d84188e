"""The Python, the packages, and where the code that runs was loaded from.

The import names eventlog, projections and turnlog are words that others use too. Whichever stands first on `sys.path`
wins, so a clash shows as an ImportError far away from its cause; here it is named, with both places. Nothing but
msgspec is imported here: it must work where the other floors are somebody else's.
"""

import platform
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from turnlog.doctor.findings import Finding

DISTRIBUTION = "turnlog"
IMPORT_NAMES = ("eventlog", "projections", "turnlog")

_DEVELOPERS_EXTRAS = ("testing",)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9.]+))?[^;]*(?:;\s*(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


class Requirement(NamedTuple):
    """A package that the distribution wants, at least in this version, always or with an extra."""

    name: str
    at_least: str
    extra: str | None


def check_python() -> Iterator[Finding]:
    """The interpreter and its libraries."""
    yield Finding(
        "python",
        "ok",
        f"Python {platform.python_version()} ({sys.executable}), SQLite {sqlite3.sqlite_version}, {platform.system()}",
    )


def check_packages() -> Iterator[Finding]:
    """Whether what Turnlog needs is installed, and what the extras that are not would bring."""
    try:
        requirements = requirements_of(distribution(DISTRIBUTION))
    except PackageNotFoundError:
        yield Finding(
            "packages", "warn", f"no distribution {DISTRIBUTION} is installed here", f"pip install {DISTRIBUTION}"
        )
        return
    needed = {r.name: _problem(r) for r in requirements if r.extra is None}
    problems = [problem for problem in needed.values() if problem]
    told = ", ".join(f"{name} {version(name)}" for name, problem in needed.items() if not problem)
    if problems:
        yield Finding("packages", "fail", "; ".join(problems), f"pip install --upgrade {DISTRIBUTION}")
    else:
        yield Finding("packages", "ok", f"{DISTRIBUTION} {version(DISTRIBUTION)}; {told}")
    yield from _check_extras(requirements)


def requirements_of(installed: Distribution) -> list[Requirement]:
    """What a distribution wants, as its metadata say; what they say of platforms is passed over."""
    found = []
    for text in installed.requires or ():
        match = _REQUIREMENT.match(text)
        if match:
            extra = _EXTRA.search(match[3] or "")
            found.append(Requirement(match[1], (match[2] or "").strip("."), extra[1] if extra else None))
    return found


def _problem(requirement: Requirement) -> str:
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if _numbers(there) < _numbers(requirement.at_least):
        return f"{requirement.name} {there} is older than {requirement.at_least}"
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0]))


def _check_extras(requirements: Sequence[Requirement]) -> Iterator[Finding]:
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        if requirement.extra and requirement.extra not in _DEVELOPERS_EXTRAS:
            extras.setdefault(requirement.extra, []).append(_problem(requirement))
    for extra, problems in extras.items():
        if any(problems):
            remedy = f"if you need it: pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(f"extra {extra}", "skip", "; ".join(filter(None, problems)), remedy)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def check_imports() -> Iterator[Finding]:
    """Whether each import name is ours, from where it was installed, and nobody else's too."""
    owners = packages_distributions()
    for name in IMPORT_NAMES:
        spec = find_spec(name)
        loaded = Path(spec.origin).parent if spec and spec.origin else None
        others = [owner for owner in owners.get(name, ()) if owner.lower() != DISTRIBUTION]
        yield judge_import(name, loaded, installed_at(name), others, on_path(name, sys.path))


def told_clash() -> str | None:
    """The sentence about an import name that is not ours here, for whoever could not import from it, or None."""
    return next((f"{f.sentence}; {f.remedy}" for f in check_imports() if f.state == "fail"), None)


def installed_at(name: str) -> list[Path]:
    """Where the distribution has a package: by its list of files, or by the folders that an editable one points to."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return []
    listed = [Path(str(file.locate())).parent for file in files if file.parts == (name, "__init__.py")]
    pointed = [
        Path(line) / name for file in files if file.suffix == ".pth" for line in _lines(Path(str(file.locate())))
    ]
    return listed or [path for path in dict.fromkeys(pointed) if (path / "__init__.py").is_file()]


def _lines(path: Path) -> list[str]:
    try:
        return [
            line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("import")
        ]
    except (OSError, ValueError):
        return []


def on_path(name: str, folders: Iterable[str]) -> list[Path]:
    """Every place on a path where a module of this name would be found, in order."""
    found = []
    for folder in folders:
        package, module = Path(folder) / name, Path(folder) / f"{name}.py"
        found += [package] if (package / "__init__.py").is_file() else [module] if module.is_file() else []
    return found


def judge_import(
    name: str, loaded: Path | None, expected: Sequence[Path], others: Sequence[str], places: Sequence[Path]
) -> Finding:
    """What is to be said of an import name: where it was loaded from, where it should be, and who else has it."""
    title, same = f"import {name}", {path.resolve() for path in expected}
    if loaded is None:
        return Finding(title, "fail", f"{name} cannot be found", f"pip install --force-reinstall {DISTRIBUTION}")
    if same and loaded.resolve() not in same:
        told = " and ".join(map(str, expected))
        remedy = "take that folder off PYTHONPATH, start somewhere else, or use an environment of its own"
        return Finding(title, "fail", f"{name} was loaded from {loaded}, but {DISTRIBUTION} has it in {told}", remedy)
    if others:
        told = " and ".join(sorted(set(others)))
        sentence = f"{name} was loaded from {loaded}, and the distribution {told} has files of that name too"
        return Finding(title, "warn", sentence, f"install {DISTRIBUTION} into an environment of its own")
    rivals = [str(place) for place in places if place.resolve() not in {loaded.resolve(), *same}]
    if rivals:
        sentence = f"{name} was loaded from {loaded}, and {' and '.join(rivals)} has the same name"
        return Finding(title, "warn", sentence, "the order of sys.path decides: take the other one off it")
    note = "" if same else f", which is no installed distribution {DISTRIBUTION}"
    return Finding(title, "ok", f"{loaded}{note}")
