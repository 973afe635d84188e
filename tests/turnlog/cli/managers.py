"""Stand-ins for the commands of service managers: scripts on PATH that record calls, keep a state, and can fail."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_SYSTEMCTL = """\
#!/bin/sh
state={state}
echo "systemctl $*" >>"$state/calls"
verb= system=--user
for word; do case $word in --user|--system) ;; --no-ask-password) system=;; --*) ;; *) verb=$word; break;; esac; done
if [ -e "$state/fail-$verb" ]; then cat "$state/fail-$verb" >&2; exit 1; fi
if [ -n "$system" ]; then units=$HOME/.config/systemd/user target=default.target
else units=$state/etc target=multi-user.target; fi
link=$units/$target.wants/turnlog.service
case $verb in
is-system-running) cat "$state/manager"; test "$(cat "$state/manager")" = running;;
enable) test -e "$units/turnlog.service" || exit 1; mkdir -p "${{link%/*}}"; ln -sf ../turnlog.service "$link"
    echo "Created symlink" >&2;;
disable) rm -f "$link" "$state/active"; rmdir "${{link%/*}}" 2>/dev/null; true;;
is-enabled) if [ -e "$link" ]; then echo enabled; else echo disabled; false; fi;;
is-active) if [ -e "$state/active" ]; then echo active; else echo failed; false; fi;;
start|restart) : >"$state/active"; if [ -n "$system" ]; then mkdir -p "$XDG_RUNTIME_DIR/turnlog"; fi;;
reset-failed) echo "Unit turnlog.service not loaded." >&2; false;;
daemon-reload) ;;
*) echo "unknown verb $verb" >&2; false;;
esac
"""

_LOGINCTL = """\
#!/bin/sh
state={state}
echo "loginctl $*" >>"$state/calls"
cat "$state/linger"
"""

_LAUNCHCTL = """\
#!/bin/sh
state={state}
echo "launchctl $*" >>"$state/calls"
if [ -e "$state/fail-$1" ]; then cat "$state/fail-$1" >&2; exit 5; fi
case $1 in
print) case $2 in
    */*/*|system/*) test -e "$state/loaded" || exit 113
        if [ -e "$state/going" ]; then rm "$state/going" "$state/loaded"; fi  # it goes on for one more question
        echo "$2 = {{"; echo "	state = $(cat "$state/loaded" 2>/dev/null)"; echo "}}";;
    *) test "$(cat "$state/manager")" = running || {{ echo "Could not find domain" >&2; exit 112; }};;
    esac;;
bootstrap) test ! -e "$state/loaded" || {{ echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }}
    test -e "$3" || exit 2; echo running >"$state/loaded";;
bootout) test -e "$state/loaded" || exit 3; : >"$state/going";;
kickstart) test -e "$state/loaded" && echo running >"$state/loaded";;
enable) ;;
print-disabled) cat "$state/disabled" 2>/dev/null; true;;
*) exit 64;;
esac
"""


@dataclass
class Managers:
    """The stand-ins, and the folder that their state is in."""

    state: Path

    def __post_init__(self) -> None:
        programs = self.state / "bin"
        programs.mkdir(parents=True)
        (self.state / "etc").mkdir()
        (self.state / "run" / "systemd").mkdir(parents=True)
        for name, script in (("systemctl", _SYSTEMCTL), ("loginctl", _LOGINCTL), ("launchctl", _LAUNCHCTL)):
            path = programs / name
            path.write_text(script.format(state=self.state))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.says("manager", "running")
        self.says("linger", "no")

    @property
    def path(self) -> str:
        """What PATH must be: the stand-ins, and what they need."""
        return f"{self.state / 'bin'}:/usr/bin:/bin"

    def says(self, what: str, text: str) -> None:
        """Have `manager` be running or not, `linger` be yes or no, `fail-VERB` say why a verb fails."""
        (self.state / what).write_text(f"{text}\n")

    def mend(self, verb: str) -> None:
        """Have a verb work again."""
        (self.state / f"fail-{verb}").unlink()

    def calls(self) -> list[str]:
        """What was called since the last time, but for questions."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if not any(verb in line for verb in (" is-", "loginctl", " print"))]

    def acts(self) -> list[str]:
        """The same without the name and the scope."""
        return [line.split(" ", 2)[2] if line.startswith("systemctl") else line for line in self.calls()]


def contents(folder: Path) -> dict[str, object]:
    """Everything below a folder: what it is, its mode and what is in it."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        inside = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (oct(mode), inside)
    return found
