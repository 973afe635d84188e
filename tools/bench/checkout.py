"""Has a program of this folder run by the checkout's own Python, where Turnlog is installed."""

import importlib.util
import os
import sys
from pathlib import Path

_VENV_PYTHON = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "python"


def use_checkout_python() -> None:
    """Go on in `.venv` if Turnlog is not installed here; ends with a sentence if there is none."""
    if importlib.util.find_spec("eventlog") is not None:
        return
    if not _VENV_PYTHON.exists() or sys.prefix == str(_VENV_PYTHON.parents[1]):
        sys.exit("Turnlog is not installed here. Run tools/test once: it sets up .venv, which this uses.")
    os.execv(_VENV_PYTHON, [str(_VENV_PYTHON), *sys.argv])  # noqa: S606 - this same program, with the checkout's Python
