"""Turnlog: every turn of every AI conversation, recorded once and delivered with proof.

    from turnlog import Recorder

    with Recorder("data") as recorder:
        recorder.record(user="amy", conversation="c1", messages=[{"role": "user", "content": "Hi"}])

Here are the programs: what touches the world. Facts are in `eventlog`, what they mean in `projections`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnlog.embedding import Recorder
    from turnlog.errors import BadTurn, Busy, ConfigError, TurnlogError, WrongUsage
    from turnlog.recorder import Recorded, TurnInProgress

__all__ = [
    "BadTurn",
    "Busy",
    "ConfigError",
    "Recorded",
    "Recorder",
    "TurnInProgress",
    "TurnlogError",
    "WrongUsage",
]

_MODULES = {
    "Recorded": "turnlog.recorder",
    "Recorder": "turnlog.embedding",
    "TurnInProgress": "turnlog.recorder",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `turnlog --help` needs none of it and answers in 40 ms instead of 90.
    if name not in __all__:
        raise AttributeError(f"module 'turnlog' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES.get(name, "turnlog.errors")), name)
