"""The service, as its manager tells, and the daemon, as its lock and its control socket do."""

from collections.abc import Iterator
from pathlib import Path

from turnlog.daemon.attention import DOCTOR, all_attention
from turnlog.daemon.client import NoAnswer, ask_status
from turnlog.daemon.lock import Holder, holder_of
from turnlog.daemon.service.installing import autostart, find_manager
from turnlog.daemon.service.manager import Manager
from turnlog.daemon.service.program import Program, find_program
from turnlog.doctor.findings import Finding
from turnlog.doctor.locks import describe_process
from turnlog.doctor.subject import Subject


def check_service(subject: Subject) -> Iterator[Finding]:
    """Whether the daemon is installed as a service for the user or the system, and what is not as it should be."""
    if subject.directory is None or subject.config is None:
        yield Finding("service", "skip", "the configuration cannot be read, which tells what a service should be like")
        return
    found: list[Finding] = []
    for system in (False, True):
        program = find_program(subject.directory, subject.config, subject.environ, system=system)
        found += _judge_service(find_manager(system=system), program)
    yield from found or [
        Finding("service", "skip", "no service is installed", "if you want one: turnlog daemon install")
    ]


def _judge_service(manager: Manager, program: Program) -> Iterator[Finding]:
    if not manager.installed():
        return
    status = autostart(manager, program)
    if not status.installed:
        told = f"{manager.path} is not there any more, and something of that service is left"
        yield Finding("service", "warn", told, "turnlog daemon uninstall, or install it again")
    elif status.attention:
        for told in status.attention:
            sentence, _, remedy = told.rpartition("; ")
            yield Finding("service", "warn", f"{manager.path}: {sentence}", remedy)
    else:
        told = f"{manager.path} is installed, starts by itself and runs"
        yield Finding("service", "ok", told, "; ".join(manager.advice()))


def check_daemon(directory: Path) -> Iterator[Finding]:
    """Whether a daemon works on this log, and everything that needs attention, as it says itself."""
    holder = holder_of(directory)
    if holder is None:
        yield Finding("daemon", "skip", "no daemon runs", "if you want one: turnlog daemon start")
        return
    who = describe_process(holder.pid) if holder.pid else "a process that has not said who it is"
    try:
        yield from _judge_daemon(holder, f"a daemon works on {directory}: {who}")
    except NoAnswer as error:
        yield Finding("daemon", "fail", f"{error} ({who})", "if it stays so: turnlog daemon restart")


def _judge_daemon(holder: Holder, told: str) -> Iterator[Finding]:
    status = ask_status(holder.socket)
    yield Finding("daemon", "ok", f"{told}, {status.state}")
    for found in all_attention(status):
        remedy = "turnlog daemon logs --errors" if found.command == DOCTOR else found.command
        yield Finding("daemon", "warn", found.sentence, remedy)
