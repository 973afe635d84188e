"""What is wrong with a configuration, before anything is done by it."""

from collections.abc import Iterator, Mapping

from turnlog.config import Config, SourceConfig
from turnlog.errors import ConfigError, TurnlogError, WrongUsage
from turnlog.secrets import references
from turnlog.sinks.registry import open_sink
from turnlog.sources.looking import look_of
from turnlog.sources.mailboxes import all_sources


def check_config(config: Config, environ: Mapping[str, str]) -> list[str]:
    """A sentence for each sink that cannot be opened, each source that cannot be watched, and each secret of a source
    that is not there; nothing is sent.
    """
    problems = []
    for sink in config.sinks:
        try:
            open_sink(config, sink).close()
        except ConfigError as error:
            problems.append(str(error))
    for table in all_sources(config, environ):
        try:
            look_of(config, table, environ)
        except WrongUsage as error:  # an unknown type
            problems.append(f"{config.path}: {error}")
        except TurnlogError as error:
            problems.append(str(error))
        else:
            problems += _missing_secrets(config, table)
    return problems


def _missing_secrets(config: Config, table: SourceConfig) -> Iterator[str]:
    for reference in references(table.options):
        try:
            reference.resolve(config.folder)
        except ConfigError as error:
            yield f"{config.path or 'the environment'}, source {table.type!r}: {error}"
