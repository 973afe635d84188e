"""The checks in the order in which they are told: what everything else stands on comes first."""

from functools import partial

from turnlog.doctor.configuration import check_configuration, check_secrets
from turnlog.doctor.findings import Check
from turnlog.doctor.installation import check_imports, check_packages, check_python
from turnlog.doctor.locks import check_locks
from turnlog.doctor.log_health import check_clock, check_log, check_time_zones
from turnlog.doctor.reaching import check_sinks
from turnlog.doctor.service import check_daemon, check_service
from turnlog.doctor.sources import check_sources
from turnlog.doctor.storage import check_disk, check_permissions, check_sync_speed
from turnlog.doctor.subject import Subject


def all_checks(subject: Subject) -> list[tuple[str, Check]]:
    """Every check of an installation; those of a folder only where it is known which."""
    checks: list[tuple[str, Check]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("imports", check_imports),
        ("time zones", check_time_zones),
        ("configuration", partial(check_configuration, subject)),
        ("secrets", partial(check_secrets, subject)),
    ]
    directory = subject.directory
    if directory is not None:
        checks += [
            ("permissions", partial(check_permissions, directory)),
            ("disk", partial(check_disk, directory)),
            ("sync speed", partial(check_sync_speed, directory)),
            ("locks", partial(check_locks, directory)),
            ("log", partial(check_log, directory)),
            ("clock", partial(check_clock, directory)),
            ("daemon", partial(check_daemon, directory)),
        ]
    return [
        *checks,
        ("service", partial(check_service, subject)),
        ("sources", partial(check_sources, subject)),
        ("sinks", partial(check_sinks, subject)),
    ]
