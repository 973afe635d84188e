"""The configuration, the secrets that it refers to, and the sources that it has watched."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from turnlog.config import Config, as_path
from turnlog.doctor.findings import Finding
from turnlog.doctor.subject import Subject
from turnlog.errors import ConfigError, TurnlogError
from turnlog.secrets import SecretRef
from turnlog.sinks.registry import open_sink
from turnlog.sources.configured import configured_sources, look_at
from turnlog.sources.watching import Watched

CONFIGURATION, SECRETS = "configuration", "secrets"


def check_configuration(subject: Subject) -> Iterator[Finding]:
    """What `turnlog config check` says of it."""
    config = subject.config
    if config is None:
        yield Finding(
            CONFIGURATION, "fail", subject.config_problem, "mend it; `turnlog config check` tells if it is right"
        )
        return
    problems = [*_sink_problems(config), *_source_problems(config, subject)]
    for problem in problems:
        yield Finding(CONFIGURATION, "fail", problem, "mend it; `turnlog config check` tells if it is right")
    if problems:
        return
    sinks = ", ".join(f"{sink.name} ({sink.type})" for sink in config.sinks)
    where = str(config.path) if config.path else "there is no configuration file, so everything has its default"
    if sinks:
        yield Finding(CONFIGURATION, "ok", f"{where}; sinks: {sinks}")
    else:
        remedy = "name a sink in turnlog.toml, or take over an old setup with `turnlog migrate`"
        yield Finding(CONFIGURATION, "ok", f"{where}; no sink, so nothing is delivered", remedy)


def _sink_problems(config: Config) -> Iterator[str]:
    for sink in config.sinks:
        try:
            open_sink(config, sink).close()
        except ConfigError as error:
            yield str(error)


def _source_problems(config: Config, subject: Subject) -> Iterator[str]:
    for table in config.sources:
        try:
            configured_sources(structs.replace(config, sources=(table,)), (), subject.environ)
        except TurnlogError as error:
            yield str(error)


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Whether each secret is there, and in a file that nobody else can read."""
    config = subject.config
    if config is None:
        yield Finding(SECRETS, "skip", "the configuration cannot be read")
        return
    references = list(_references(config))
    if not references:
        yield Finding(SECRETS, "skip", "the configuration refers to none")
    for owner, reference in references:
        yield _judge_secret(owner, reference, config.folder)


def _judge_secret(owner: str, reference: SecretRef, folder: Path) -> Finding:
    try:
        reference.resolve(folder)
    except ConfigError as error:
        return Finding(SECRETS, "fail", f"{owner}: {error}", "put it there")
    path = folder / as_path(reference.file) if reference.file else None
    if path is not None and path.stat().st_mode & 0o077:
        return Finding(SECRETS, "warn", f"{owner}: others may read {path}", f"chmod 600 {shlex.quote(str(path))}")
    return Finding(SECRETS, "ok", f"{owner}: {reference} holds one")


def _references(config: Config) -> Iterator[tuple[str, SecretRef]]:
    """Whatever in the options of sinks and sources is written as a secret is."""
    tables: list[tuple[str, dict[str, Any]]] = [(f"sink {sink.name!r}", sink.options) for sink in config.sinks]
    tables += [(f"source {source.type!r}", source.options) for source in config.sources]
    for owner, options in tables:
        for value in options.values():
            if isinstance(value, dict) and set(value) & {"env", "file"}:
                try:
                    yield owner, msgspec.convert(value, SecretRef)
                except msgspec.ValidationError:  # the configuration's trouble, and told there
                    continue


def check_sources(subject: Subject) -> Iterator[Finding]:
    """Whether each source that is watched is there and can be read."""
    if subject.config is None or not subject.config.sources:
        yield Finding("sources", "skip", "no source is configured; `turnlog sources add` has one watched")
        return
    for table in subject.config.sources:
        try:
            (watched,) = configured_sources(structs.replace(subject.config, sources=(table,)), (), subject.environ)
        except TurnlogError:  # the configuration's trouble, and told there
            continue
        yield judge_source(watched)


def judge_source(watched: Watched) -> Finding:
    """Whether one source can be read."""
    name, seen = f"source {watched.source.name}", look_at(watched)
    told = ", ".join(map(str, seen.paths or watched.paths))
    if not seen.paths:
        return Finding(name, "warn", f"nothing is at {told}", "correct its path, or start the program once")
    if seen.problem:
        return Finding(name, "fail", seen.problem, "see who may read it: turnlog sources check")
    return Finding(name, "ok", told if watched.drops else f"{seen.streams} files in {told}")
