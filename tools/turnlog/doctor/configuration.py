"""The configuration, and the secrets that it refers to."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from turnlog.config import Config
from turnlog.doctor.findings import Finding
from turnlog.doctor.subject import Subject
from turnlog.errors import ConfigError
from turnlog.secrets import SecretRef, references
from turnlog.sources.mailboxes import all_sources
from turnlog.sync.checks import check_config

CONFIGURATION, SECRETS = "configuration", "secrets"

_REMEDY = "mend it; `turnlog config check` tells if it is right"


def check_configuration(subject: Subject) -> Iterator[Finding]:
    """What `turnlog config check` says of it."""
    config = subject.config
    problems = [subject.config_problem] if config is None else check_config(config, subject.environ)
    for problem in problems:
        yield Finding(CONFIGURATION, "fail", problem, _REMEDY)
    if config is None or problems:
        return
    sinks = ", ".join(f"{sink.name} ({sink.type})" for sink in config.sinks)
    where = str(config.path) if config.path else "there is no configuration file, so everything has its default"
    if sinks:
        yield Finding(CONFIGURATION, "ok", f"{where}; sinks: {sinks}")
    else:
        remedy = "name a sink in turnlog.toml, or take over an old setup with `turnlog migrate`"
        yield Finding(CONFIGURATION, "ok", f"{where}; no sink, so nothing is delivered", remedy)


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Whether each secret is there, and in a file that nobody else can read."""
    config = subject.config
    if config is None:
        yield Finding(SECRETS, "skip", "the configuration cannot be read")
        return
    found = list(_references(config, subject))
    if not found:
        yield Finding(SECRETS, "skip", "the configuration refers to none")
    for owner, reference in found:
        yield _judge_secret(owner, reference, config.folder)


def _judge_secret(owner: str, reference: SecretRef, folder: Path) -> Finding:
    try:
        reference.resolve(folder)
    except ConfigError as error:
        return Finding(SECRETS, "fail", f"{owner}: {error}", "put it there")
    path = reference.path(folder)
    if path is not None and path.stat().st_mode & 0o077:
        return Finding(SECRETS, "warn", f"{owner}: others may read {path}", f"chmod 600 {shlex.quote(str(path))}")
    return Finding(SECRETS, "ok", f"{owner}: {reference} holds one")


def _references(config: Config, subject: Subject) -> Iterator[tuple[str, SecretRef]]:
    """Each secret with whose it is."""
    tables = [(f"sink {sink.name!r}", sink.options) for sink in config.sinks]
    tables += [(f"source {source.type!r}", source.options) for source in all_sources(config, subject.environ)]
    for owner, options in tables:
        for reference in references(options):
            yield owner, reference
