"""The programs of this folder: what each is called, and its cases."""

from functools import partial

from appends import append_cases, unsynced_cases, wait_cases
from command import Program
from daemons import idle_cases as daemon_idle_cases
from daemons import reach_cases, start_cases, status_cases
from floods import batch_cases, recovery_cases, single_cases
from follows import follow_cases, idle_cases
from histories import history_cases, peak_cases
from imports import peak_rows, source_cases
from lookups import checkpoint_cases, fetch_cases
from memobase import memobase_cases
from old_way import old_way_cases
from receipts import receipt_cases
from replays import memory_cases, replay_cases
from watches import cost_cases, latency_cases

RUN = Program(
    "tools/bench/run",
    "Measure the log beside its peers.",
    {
        "append": append_cases,
        "append-os": unsynced_cases,
        "wait": wait_cases,
        "replay": replay_cases,
        "memory": memory_cases,
        "checkpoint": checkpoint_cases,
        "fetch": fetch_cases,
        "follow": follow_cases,
        "idle": idle_cases,
        "old-way": old_way_cases,
    },
)

DELIVER = Program(
    "tools/bench/deliver",
    "Measure delivery beside a bare loop of requests.",
    {
        "receipt": receipt_cases,
        "batch": batch_cases,
        "single": single_cases,
        "memobase": memobase_cases,
        "recovery": recovery_cases,
        "history": history_cases,
        "memory": peak_cases,
    },
)

WATCH = Program(
    "tools/bench/watch",
    "Measure watching a thousand sessions.",
    {"latency": latency_cases, "cost": cost_cases},
)

SOURCES = Program(
    "tools/bench/sources",
    "Measure import beside json.loads of every line.",
    {
        source: partial(source_cases, source=source)
        for source in ("claude_code", "codex", "gemini_cli", "save_data", "chatgpt")
    },
    {"memory": peak_rows},
)

DAEMON = Program(
    "tools/bench/daemon",
    "Measure the daemon.",
    {
        "reach": reach_cases,
        "start": start_cases,
        "status": status_cases,
        "idle": daemon_idle_cases,
    },
)
