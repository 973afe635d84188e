"""Real transcripts of others, where they are: beside the checkout, or where TURNLOG_TRANSCRIPTS says."""

import os
from pathlib import Path

BESIDE = Path(__file__).parents[4] / "shared" / "transcripts"
TRANSCRIPTS = Path(os.environ.get("TURNLOG_TRANSCRIPTS") or BESIDE)

FOLDERS = {
    "claude-code": "claude_code",
    "codex": "codex",
    "gemini-cli": "gemini_cli",
    "chatgpt": "chatgpt",
    "claude-ai": "claude",
    "gemini-web": "gemini",
}
"""The source of what is in each folder."""
