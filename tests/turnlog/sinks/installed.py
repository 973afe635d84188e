"""Distributions with sinks in them, as an installer would leave them in a folder on the path."""

from pathlib import Path


def install(folder: Path, distribution: str, points: dict[str, str], **modules: str) -> Path:
    """Put modules and the metadata that names their sinks into a folder; returns the folder."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (info / "entry_points.txt").write_text("".join(["[turnlog.sinks]\n", *lines]))
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder
