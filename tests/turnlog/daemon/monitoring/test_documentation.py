"""docs/monitoring.md is what it says: its metrics are those that there are, its rules are rules."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from turnlog.config import parse
from turnlog.daemon.monitoring.metrics import OUTCOMES, StatusCollector, exposition

from .support import WELL

PAGE = (Path(__file__).parents[4] / "docs" / "monitoring.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(RULES,) = (block for block in BLOCKS if block.startswith("groups:"))
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def exposed() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The kind and the labels of each metric, by the name that its samples have."""
    found = {}
    for metric in StatusCollector(WELL).collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        found[name] = metric.type, tuple(metric._labelnames)  # type: ignore[attr-defined]
    return found


def test_every_metric_is_in_the_docs_and_every_one_in_the_docs_is_there() -> None:
    """With its kind and its labels."""
    columns = re.findall(r"^\| `(turnlog_\w+)` \| (\w+) \| ([\w, ]*)\|", PAGE, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in columns}
    assert documented == exposed()
    assert len(columns) == len(documented)


def test_the_metrics_of_the_process_are_in_the_docs() -> None:
    """As they are here."""
    body, _ = exposition(WELL, "")
    names = {sample.name for family in text_string_to_metric_families(body.decode()) for sample in family.samples}
    assert {name for name in names if name.startswith("process_")} <= set(re.findall(r"`(process_\w+)`", PAGE))


def test_every_outcome_is_in_the_docs() -> None:
    """In the row of the attempts."""
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `turnlog_sync_attempts_total`"))
    assert set(OUTCOMES) <= set(re.findall(r"`(\w+)`", row))


def test_rules_ask_for_metrics_that_there_are() -> None:
    """Under names that samples have, with labels that they have."""
    asked = set(re.findall(r"\bturnlog_\w+", " ".join(re.findall(r"expr: (?:\|\n\s+)?(.*(?:\n\s+>.*)?)", RULES))))
    known = set(exposed()) | {"turnlog_sync_latency_seconds_bucket"}
    assert asked <= known
    assert len(asked) > 8


def test_the_configuration_on_the_page_is_one() -> None:
    """Both pieces of it."""
    pieces = re.findall(r"^    (\[daemon\]\n(?:    \w.*\n)+)", PAGE, re.MULTILINE)
    assert len(pieces) == 2
    for piece in pieces:
        text = piece.replace("\n    ", "\n")
        assert parse(text, Path("turnlog.toml")).daemon.listen_at[1] == 9464


@promtool
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    """As they stand on the page."""
    path = tmp_path / "rules.yml"
    path.write_text(RULES, encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


UNIT = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: up{job="turnlog"}
        values: 1x60
      - series: turnlog_oldest_undelivered_seconds{sink="team"}
        values: 0x10 1000x50
      - series: turnlog_sink_paused{sink="team", kind="unauthorized"}
        values: 0x60
    alert_rule_test:
      - eval_time: 5m
        alertname: TurnlogUndelivered
      - eval_time: 30m
        alertname: TurnlogUnauthorized
      - eval_time: 30m
        alertname: TurnlogDown
      - eval_time: 30m
        alertname: TurnlogUndelivered
        exp_alerts:
          - exp_labels: {severity: page, sink: team}
            exp_annotations:
              summary: "A turn waits for 16m 40s for the sink team: turnlog pending --sink team"
"""


@promtool
def test_an_alert_comes_when_turns_wait_and_not_before(tmp_path: Path) -> None:
    """As Prometheus itself evaluates it."""
    (tmp_path / "rules.yml").write_text(RULES, encoding="utf-8")
    path = tmp_path / "unit.yml"
    path.write_text(UNIT, encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout, done.stderr)
