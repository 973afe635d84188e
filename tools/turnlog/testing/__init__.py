"""What users need to test their own sinks, sources and policies; `turnlog` itself never imports it.

* `FakeClock` stands still until it is told otherwise; `FaultySink` fails as told; `outgoing` makes turns as sinks get
  them.
* `events`, `turns`, `logs`, `wild_logs` ... are hypothesis strategies.
* `check_laws` holds a log against the laws of delivery; `finished_lines` are the bytes that must never change.
* `turnlog.testing.memobase.MemobaseDouble` is a Memobase server, also as a process of its own, and
  `turnlog.testing.proxy.FaultProxy` the network before any server; they are imported from there.
* `turnlog.testing.sink_contract.SinkContract` and `turnlog.testing.source_contract.SourceContract` are the tests that
  every sink and every source passes. They need pytest and are imported from there.

Install the extra `testing` to have hypothesis and pytest.
"""

from turnlog.testing.clock import FakeClock
from turnlog.testing.faults import (
    ALL,
    Fault,
    FaultySink,
    FindingFaultySink,
    Received,
    failed,
    in_doubt,
    miscounted,
    raising,
    rejected,
    throttled,
    unauthorized,
    unavailable,
)
from turnlog.testing.laws import LAWS, check_laws
from turnlog.testing.logs import finished_lines, logs, wild_logs
from turnlog.testing.outgoing import outgoing
from turnlog.testing.strategies import events, json_values, make_entries, messages, policies, turns

__all__ = [
    "ALL",
    "LAWS",
    "FakeClock",
    "Fault",
    "FaultySink",
    "FindingFaultySink",
    "Received",
    "check_laws",
    "events",
    "failed",
    "finished_lines",
    "in_doubt",
    "json_values",
    "logs",
    "make_entries",
    "messages",
    "miscounted",
    "outgoing",
    "policies",
    "raising",
    "rejected",
    "throttled",
    "turns",
    "unauthorized",
    "unavailable",
    "wild_logs",
]
