"""The habits of this codebase, as far as a program can see them. Layers are import-linter's, see pyproject.toml."""

import ast
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
SHIPPED = ("eventlog", "projections", "tools/turnlog")
SCRIPTS = ("tools/try", "tools/test", ".ci/run")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


ALL_FILES = files("eventlog", "projections", "tools", "tests")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def where(path: Path, node: Function | ast.ClassDef) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_there_is_something_to_look_at() -> None:
    """The rules below would hold for an empty folder too."""
    assert len(files(*SHIPPED)) > 60
    assert len(files("tests")) > 20


def test_no_file_is_too_long() -> None:
    """500 lines are the end; most have 250 or fewer."""
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_FILES}
    assert {path: length for path, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    """70 lines are the end, docstring and all."""
    lengths = {
        where(path, node): (node.end_lineno or 0) - node.lineno + 1 for path in ALL_FILES for node in functions(path)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES_MAX} == {}


def test_every_test_states_the_fact_that_it_proves() -> None:
    """In its docstring."""
    tests = [(path, node) for path in files("tests") for node in functions(path) if node.name.startswith("test_")]
    assert len(tests) > 200
    assert [where(path, node) for path, node in tests if not ast.get_docstring(node)] == []


def test_no_test_hides_another() -> None:
    """Two functions of the same name in one scope: the first would never run."""
    hidden = []
    for path in ALL_FILES:
        for scope in ast.walk(tree(path)):
            if isinstance(scope, ast.Module | ast.ClassDef):
                names = [node.name for node in scope.body if isinstance(node, Function) and not node.decorator_list]
                hidden += [f"{path.relative_to(ROOT)} {name}" for name in names if names.count(name) > 1]
    assert hidden == []


def _public(node: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    for child in node.body:
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def test_everything_public_explains_itself() -> None:
    """Every module, public class, function and method that is shipped has a docstring; a property's setter has its."""
    silent = []
    for path in files("eventlog", "projections", "tools"):
        module = tree(path)
        silent += [] if ast.get_docstring(module) else [str(path.relative_to(ROOT))]
        silent += [where(path, node) for node in _public(module) if not ast.get_docstring(node)]
    assert silent == []


@pytest.mark.parametrize("name", ["eventlog", "projections", "turnlog"])
def test_what_a_package_exports_is_sorted_and_there(name: str) -> None:
    """CONSTANTS, then Classes, then functions, each in order; every name can be imported, once."""
    package = import_module(name)
    exported = list(package.__all__)
    assert exported == sorted(exported, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert len(set(exported)) == len(exported) > 0
    for attribute in exported:
        assert getattr(package, attribute) is not None
    with pytest.raises(AttributeError):
        getattr(package, "no_such_name")  # noqa: B009 - it is the attribute access that is tested


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_nothing_imports_tools() -> None:
    """`tools/` is a folder, not a package: what is in it is imported as `turnlog`."""
    guilty = [path for path in ALL_FILES if any(name.split(".")[0] == "tools" for name in _imported(path))]
    assert guilty == []
    assert not (ROOT / "tools" / "__init__.py").exists()


def test_no_module_is_dead() -> None:
    """Each is named by another, or is the command line's own."""
    texts = {path: path.read_text(encoding="utf-8") for path in ALL_FILES}
    cli = ROOT / "tools" / "turnlog" / "cli"
    for path in files(*SHIPPED):
        if path.stem in ("__init__", "__main__") or path.parent in (cli / "commands", cli / "daemon"):
            continue
        assert any(path.stem in text for other, text in texts.items() if other != path), f"nobody uses {path}"


def test_the_version_is_that_of_the_newest_change() -> None:
    """CHANGELOG.md begins with the version in pyproject.toml."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["project"]["version"]


def test_files_that_the_readme_names_are_there() -> None:
    """Paths of the checkout; folders of a log are none."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\b(?:eventlog|projections|tools|docs|tests)/[\w/.-]*\w|[A-Z]+\.md", readme)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_and_posix(script: str) -> None:
    """They run under any `sh`: as far as it can tell without running them."""
    path = ROOT / script
    assert os.access(path, os.X_OK)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "set -eu\n" in text
    for bashism in ("[[", "function ", "local ", "source ", "pipefail", "<<<", "$'"):
        assert bashism not in text
    subprocess.run(["sh", "-n", path], check=True, timeout=60)


def test_what_scripts_share_is_posix_too() -> None:
    """It is read by them, and is no command."""
    for path in (ROOT / "tools").glob("*.sh"):
        subprocess.run(["sh", "-n", path], check=True, timeout=60)
        assert not os.access(path, os.X_OK)


def test_the_source_distribution_is_an_allow_list() -> None:
    """No entry is a folder that private conversations may be in; `data/` gives its sample only."""
    listed = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert [entry for entry in listed if Path(entry).parts[0] == "data"] == ["data/save_data.jsonl"]
    assert "." not in listed
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ignored.index("data/*") < ignored.index("!data/save_data.jsonl")


def test_private_conversations_are_in_no_distribution(tmp_path: Path) -> None:
    """A source distribution built beside data/private.jsonl does not hold it, and holds what it should."""
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed here")
    checkout = tmp_path / "checkout"
    for name in ("eventlog", "projections", "tools", "tests", "docs", "data"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("data/private.jsonl", "private.jsonl", "data/log/00000000000000000001.jsonl"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("private")
    (built,) = sdist.SdistBuilder(str(checkout)).build(directory=str(tmp_path / "dist"))
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= {"eventlog/log.py", "tools/turnlog/cli/main.py", "tools/try", "data/save_data.jsonl", "LICENSE"}
    assert [name for name in held if "private" in name or name.startswith("data/log")] == []
    assert {name for name in held if name.startswith("data/")} == {"data/save_data.jsonl"}
