"""Carrying out the plan of a migration, in steps that may be repeated."""

from pathlib import Path
from typing import Any

from eventlog.files import Files
from turnlog.cli.settings import edit, edited, import_tomlkit
from turnlog.config import Config, SinkConfig, load
from turnlog.migration.plan import Given, Plan, PlannedTurns, save_data
from turnlog.recorder import TurnRecorder
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sync.enrolment import enrol_sinks


def carry_out(plan: Plan, given: Given) -> ImportCounts:
    """Do what the plan says; what an interrupted run has done already changes nothing.

    1. The sink that has the delivered turns is enrolled: from then on a turn that a later look at the file finds
    delivered is skipped there. 2. The turns are recorded. 3. Secrets get their files. 4. The configuration is written.
    5. Its sinks are enrolled, those without backfill behind the turns. Raises ConfigError, AppendFailed, OSError.
    """
    if plan.changes_configuration:
        edited(given.config_path, lambda document: change(plan, document))  # or nothing is done
    counts = ImportCounts()
    with TurnRecorder(given.directory, durability=given.config.log.durability) as recorder:
        if plan.turns is not None:
            enrol_sinks(recorder, _planned(plan, given.config, plan.turns.sink))
            counts = _record(recorder, plan.turns, given)
        for secret in plan.secrets:
            Files().write_file(secret.path, f"{secret.value}\n".encode())
        if plan.changes_configuration:
            edit(given.config_path, lambda document: change(plan, document))
        path = given.config_path if given.config_path.exists() else None
        enrol_sinks(recorder, load(path, given.environ).sinks)
    return counts


def additions(plan: Plan, given: Given) -> str:
    """What the plan adds to the configuration, as it will stand there. Raises TurnlogError without tomlkit."""
    tomlkit = import_tomlkit(given.config_path)
    document = tomlkit.document()
    change(plan, document)
    text: str = tomlkit.dumps(document)
    return text


def change(plan: Plan, document: Any) -> None:
    """Put what is new into the document of a configuration; what it says already stays."""
    import tomlkit  # whoever has a document has it

    if plan.interval_seconds is not None:
        said = {"interval_seconds": plan.interval_seconds}
        if "sync" in document:
            document["sync"].update({**said, **document["sync"]})
        else:
            document.append("sync", _filled(tomlkit.table(), said).add(tomlkit.nl()))
    if plan.sinks:
        tables = document.setdefault("sinks", tomlkit.aot())
        in_one_line = not isinstance(tables, tomlkit.items.AoT)
        for sink in plan.sinks:
            tables.append(_filled(tomlkit.inline_table() if in_one_line else tomlkit.table(), sink))


def _filled(table: Any, values: dict[str, Any]) -> Any:
    import tomlkit

    for key, value in values.items():
        table.append(key, _filled(tomlkit.inline_table(), value) if isinstance(value, dict) else value)
    return table


def _planned(plan: Plan, config: Config, name: str) -> list[SinkConfig]:
    known = [sink for sink in config.sinks if sink.name == name]
    return known or [SinkConfig(name, str(table["type"])) for table in plan.sinks if table["name"] == name]


def _record(recorder: TurnRecorder, turns: PlannedTurns, given: Given) -> ImportCounts:
    source = save_data(turns, given.timezone)
    return import_streams(recorder, source, source.discover([Path(turns.path)]))
