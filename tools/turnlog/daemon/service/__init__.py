"""The machine's own service manager: what starts the daemon after a boot or a login, and again when it fails.

`program` says what is to be run, `systemd` and `launchd` how each of the two is told so, `installing` does it. A
manager only plans: `steps` are values, which a dry run prints and an installation performs.
"""
