"""A group of commands that are loaded when they are asked for, so that `--help` and short commands stay quick."""

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Knows its commands by name and loads only the one that is used.

    `known` maps each command to the first line of its help, which a test compares with the command's own; the module
    `package.NAME_` has it as `command`.
    """

    def __init__(self, *args: Any, known: dict[str, str], package: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = known
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in the order of the documentation."""
        return list(self.known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, loaded."""
        if cmd_name not in self.known:
            return None
        module = import_module(f"{self._package}.{cmd_name.replace('-', '_')}_")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; one that is not there is told with the nearest."""
        if args[0] not in self.known and not args[0].startswith("-"):
            from turnlog.convert import nearest  # not for --help

            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], list(self.known))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.known.items()))
