"""The unit file of the daemon, hardened as far as it can be and still read every source and reach every sink.

What the settings mean is in systemd.exec(5), systemd.service(5) and, for quoting, systemd.syntax(7); all are known to
systemd 252 (Debian 12). `systemd-analyze security` gives the unit an exposure of 1.9. Why some are as they are:

* `ProtectHome=read-only`: sources are in the home folder, and so is, often, Python itself.
* `ReadWritePaths=`: the log's folder and those that sinks write into; with `-`, so that the daemon starts, and can say
  what is wrong, where one of them has gone. `RuntimeDirectory=` is for the control socket, and stays when one daemon
  stops, since another may be at work in it. The daemon must take it from $RUNTIME_DIRECTORY: platformdirs trusts no
  folder below one of root's, whom `PrivateUsers=` hides, and the rest of a user's runtime folder is read-only.
* `PrivateUsers=yes`: what a user's own manager needs to be able to set up any of it (later versions imply it). So user
  units need unprivileged user namespaces, which a few distributions switch off.
* `PrivateTmp=` is left out where one of the paths is in a temporary folder, which it would hide.
* `RestartPreventExitStatus=78`: a broken configuration does not mend itself; everything else is tried again for ever.
* `ExecReload=` asks `config check` first: if it refuses, systemd goes no further, and the daemon keeps what it has.
* `RemoveIPC=` is not there: it would remove what other programs of the account share.
* `LoadCredential=` (system units): secrets in files that the account itself cannot read.
"""

from collections.abc import Iterable
from pathlib import Path

from turnlog.daemon.service.program import Program
from turnlog.errors import WrongUsage
from turnlog.secrets import credential_name

STATE_ROOT = Path("/var/lib")
"""Where StateDirectory= makes folders."""

TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - they are looked for, not used

STOP_SECONDS = 15
"""So much longer than its own grace time the daemon may take to stop."""

WATCHDOG_SECONDS = 60

_UNIT = """\
# Written by `turnlog daemon install`, which writes it anew; what is to stay goes into `systemctl edit turnlog.service`.
[Unit]
Description=Turnlog: records and delivers every turn of every AI conversation
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{account}ExecStart=:{start}
ExecReload=:{check}
ExecReload=/bin/sh -c 'kill -HUP "$MAINPID"'
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=78
TimeoutStartSec=120
TimeoutStopSec={stop_seconds}
WatchdogSec={watchdog_seconds}
KillMode=mixed
UMask=0077

{paths}RuntimeDirectory=turnlog
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ProtectSystem=strict
ProtectHome=read-only
{temporary}
PrivateUsers=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy={wanted_by}
"""


def render_unit(program: Program, *, system: bool) -> str:
    """The unit file. Raises WrongUsage for a path that cannot stand in one."""
    for path in program.paths:
        _check(str(path))
    if set("\"'\\") & set(program.python):
        raise WrongUsage(f"systemd starts no program whose path has quotes or backslashes: {program.python}")
    return _UNIT.format(
        account=f"User={_specifiers(program.account)}\n" if system else "",
        start=_words(program.argv("daemon", "run")),
        check=_words(program.argv("config", "check")),
        stop_seconds=round(program.grace_seconds) + STOP_SECONDS,
        watchdog_seconds=WATCHDOG_SECONDS,
        paths="".join(f"{line}\n" for line in _paths(program, system=system)),
        temporary=f"ReadWritePaths={' '.join(map(str, TEMPORARY))}" if _in_temporary(program) else "PrivateTmp=yes",
        wanted_by="multi-user.target" if system else "default.target",
    )


def escape(word: str) -> str:
    """A word of a setting: quoted, with what quoting does not take from its meaning escaped."""
    return '"' + _specifiers(word).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _words(words: Iterable[str]) -> str:
    return " ".join(map(escape, words))


def _paths(program: Program, *, system: bool) -> Iterable[str]:
    if is_state(program.directory) and system:
        yield f"StateDirectory={escape(str(program.directory.relative_to(STATE_ROOT)))}"
        yield "StateDirectoryMode=0700"
    for path in (program.directory, *program.writable):
        yield f"ReadWritePaths={escape(f'-{path}')}"
    for path in program.credentials:  # the rest of the line is the path: nothing in it is quoted
        yield f"LoadCredential={credential_name(path)}:{_specifiers(str(path))}"


def is_state(directory: Path) -> bool:
    """Whether systemd makes this folder itself, if it is asked to."""
    return STATE_ROOT in directory.parents


def _in_temporary(program: Program) -> bool:
    return any(folder in path.parents for path in program.paths for folder in TEMPORARY)


def _check(text: str) -> None:
    """Refuse what no unit file can say: control characters, and what is not Unicode."""
    if any(c < " " or "\x7f" <= c <= "\x9f" or _is_no_character(ord(c)) for c in text):
        raise WrongUsage(f"the path {text!r} has characters that no unit of systemd can hold; use another folder")


def _is_no_character(code: int) -> bool:
    """Surrogates (bytes that are no UTF-8) and noncharacters, at which systemd passes over the whole line."""
    return 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
