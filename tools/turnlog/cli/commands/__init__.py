"""The commands; `turnlog.cli.main` loads the one that is asked for."""
