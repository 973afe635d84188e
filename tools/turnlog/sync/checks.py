"""What is wrong with a configuration, before anything is done by it."""

from collections.abc import Mapping

from turnlog.config import Config
from turnlog.errors import ConfigError, TurnlogError, WrongUsage
from turnlog.sinks.registry import open_sink
from turnlog.sources.looking import look_of
from turnlog.sources.mailboxes import all_sources


def check_config(config: Config, environ: Mapping[str, str]) -> list[str]:
    """A sentence for each sink that cannot be opened and each source that cannot be watched; nothing is sent."""
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
    return problems
