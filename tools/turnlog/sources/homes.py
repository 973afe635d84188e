"""Where programs keep what was said with them, on this platform. From the programs' own sources and files, 2026."""

from collections.abc import Callable, Mapping
from pathlib import Path

Environ = Mapping[str, str]

DROPPED = ("chatgpt", "claude", "gemini")
"""Sources whose files people download: they are looked for among all else that is."""


def homes(name: str, environ: Environ, home: Path) -> tuple[Path, ...]:
    """The folders of a source; they need not be there. Empty for a source that has none of its own."""
    return _HOMES[name](environ, home) if name in _HOMES else ()


def _claude_code(environ: Environ, home: Path) -> tuple[Path, ...]:
    """CLAUDE_CONFIG_DIR may name several, with commas; some versions of 2025 used ~/.config."""
    named = [Path(folder) for folder in environ.get("CLAUDE_CONFIG_DIR", "").split(",") if folder]
    return tuple(folder / "projects" for folder in named or (home / ".claude", home / ".config" / "claude"))


def _codex(environ: Environ, home: Path) -> tuple[Path, ...]:
    folder = Path(environ.get("CODEX_HOME") or home / ".codex")
    return folder / "sessions", folder / "archived_sessions"


def _gemini_cli(environ: Environ, home: Path) -> tuple[Path, ...]:
    return (Path(environ.get("GEMINI_CLI_HOME") or home) / ".gemini" / "tmp",)


def _downloads(environ: Environ, home: Path) -> tuple[Path, ...]:
    return (Path(environ.get("XDG_DOWNLOAD_DIR") or home / "Downloads"),)


_HOMES: dict[str, Callable[[Environ, Path], tuple[Path, ...]]] = {
    "claude_code": _claude_code,
    "codex": _codex,
    "gemini_cli": _gemini_cli,
    **dict.fromkeys(DROPPED, _downloads),
}
