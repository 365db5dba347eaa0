"""Metrics, dashboard, alerts, codes and runbook are held together: whatever one of them names is in the others."""

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from evenshard.errors import CODES, EVENT_CODES
from evenshard.runtime.metric_table import METRICS, prometheus_name
from evenshard.testing.chart import DASHBOARD, REPOSITORY, documents, of_kind, render, staying
from evenshard.testing.dashboard import dashboard_text, expressions

pytest.importorskip("helm_python", reason="NO CHART TESTED: pip install evenshard[charts]")

OTHERS: Final = re.compile(r"up|(kubelet_volume_stats|kube_statefulset|etcd_server)_\w+")
"""Metrics of Prometheus, Kubernetes and etcd; ours are looked up."""
LABELS_GIVEN: Final = frozenset(["namespace", "job", "statefulset", "persistentvolumeclaim", "service_name", "le"])
"""By whoever asks, and by our endpoint."""
WORDS: Final = frozenset(
    ["sum", "max", "min", "avg", "count", "rate", "increase", "delta", "predict_linear", "histogram_quantile"]
) | {"by", "and", "or", "ignoring", "group_left", "on"}
PROMTOOL: Final = os.environ.get("PROMTOOL") or shutil.which("promtool")
EVERYTHING: Final[dict[str, Any]] = {
    "prometheusRule": {"enabled": True},
    "metrics": {"serviceMonitor": {"enabled": True}, "dashboard": {"enabled": True}},
    "etcd": {"serviceMonitor": {"enabled": True}},
}
COLLECTED: Final[dict[str, Any]] = {"prometheusRule": {"enabled": True}}
"""Through a collector: nothing says which release series are of."""
BOOK: Final = (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")
WANTED: Final = {
    "ShardSkew",
    "CompactionBacklog",
    "DirectoryLag",
    "DataDamaged",
    "DiskFilling",
    "ServiceDown",
    "SyncSlow",
}


@functools.cache
def _rendered(values: str) -> list[dict[str, Any]]:
    return documents(render(json.loads(values)))


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every object; each set of values is rendered once."""
    return _rendered(json.dumps(values))


def rules_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    (found,) = of_kind(rendered(values), "PrometheusRule").values()
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """Names of series in an expression: what is left without texts, labels, ranges and words of the language."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|ignoring|on|group_left) *\([^)]*\)", "", bare)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*", bare) if word not in WORDS}


def labels_in(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', '""', expression)
    inside = [label for part in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+) *[=!]", part)]
    grouped = [
        word for part in re.findall(r"\b(?:by|ignoring|on) *\(([^)]*)\)", bare) for word in re.findall(r"\w+", part)
    ]
    return {*inside, *grouped}


def of_ours() -> Iterator[str]:
    """Every series that services tell."""
    for name, metric in METRICS.items():
        base = prometheus_name(name)
        yield from (f"{base}_bucket", f"{base}_sum", f"{base}_count") if metric.form == "histogram" else (base,)


def entries(level: str = "### ") -> list[str]:
    return [line.removeprefix(level) for line in BOOK.splitlines() if line.startswith(level)]


def section(title: str) -> str:
    return BOOK.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def entry(name: str) -> str:
    return BOOK.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]


def test_every_metric_that_is_used_exists_and_every_label_is_one_it_has() -> None:
    ours = set(of_ours())
    labels = {attribute.replace(".", "_") for metric in METRICS.values() for attribute in metric.attributes}
    used: set[str] = set()
    for expression in [*(rule["expr"] for rule in rules_of(EVERYTHING)), *expressions()]:
        named = metrics_in(expression)
        assert named, expression
        unknown = {each for each in named if each not in ours and OTHERS.fullmatch(each) is None}
        assert unknown == set(), expression
        assert labels_in(expression) <= labels | LABELS_GIVEN, expression
        used |= named
    unused = {prometheus_name(name) for name in METRICS} - {re.sub(r"_(bucket|sum|count)$", "", each) for each in used}
    assert unused == set(), "a metric nobody looks at"


def test_every_alert_has_an_entry_and_says_what_to_do() -> None:
    alerts = rules_of(EVERYTHING)
    names = {rule["alert"] for rule in alerts}
    assert names >= WANTED
    for rule in alerts:
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        base, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert base.endswith("docs/runbook.md")
        assert anchor == rule["alert"].lower()
        assert rule["labels"]["severity"] in ("warning", "critical")
        text = entry(rule["alert"])
        assert "**Do:**" in text or "As [" in text, rule["alert"]
    in_book = set(re.findall(r"^### (\w+)$", section("Alerts"), re.MULTILINE))
    assert in_book == names


def test_every_code_has_an_entry_and_every_entry_is_of_a_code() -> None:
    assert re.findall(r"^### (\w+)$", section("Codes of calls"), re.MULTILINE) == [
        code for code in CODES if code in section("Codes of calls")
    ]
    assert set(re.findall(r"^### (\w+)$", section("Codes of calls"), re.MULTILINE)) == set(CODES)
    assert sorted(re.findall(r"^\| `(\w+)` \|", section("Codes of events"), re.MULTILINE)) == sorted(EVENT_CODES)
    for code in CODES:
        assert "**Do:**" in entry(code) or "**Look:**" in entry(code), code


def test_whatever_the_book_links_to_is_there() -> None:
    anchors = {each.lower() for each in entries()}
    links = set(re.findall(r"\]\(#([\w-]+)\)", BOOK))
    assert links
    assert links <= anchors
    for path in re.findall(r"\]\(([\w./]+\.md)\)", BOOK):
        assert (REPOSITORY / "docs" / path).exists(), path
    commands = set(re.findall(r"`evenshard ([a-z-]+)", BOOK))
    from evenshard.cli.main import COMMANDS

    assert commands <= set(COMMANDS)


def test_series_of_another_release_are_not_taken_for_ours() -> None:
    for rule in rules_of(EVERYTHING):
        for selector in re.findall(
            r"\b(?:evenshard|rpc|process)_\w+(\{[^}]*\})?", re.sub(r"by \([^)]*\)", "", rule["expr"])
        ):
            if selector:
                assert 'namespace="analytics", job="evenshard-metrics"' in selector, rule["alert"]
    collected = rules_of(COLLECTED)
    assert not any('job="' in rule["expr"] for rule in collected)
    assert {rule["alert"] for rule in collected} == {rule["alert"] for rule in rules_of(EVERYTHING)} - {
        "ServiceDown", "EtcdAway",
    }  # fmt: skip


def test_nothing_of_this_is_installed_unless_it_is_asked_for() -> None:
    objects = rendered({})
    assert {"PrometheusRule", "ServiceMonitor"} & {each["kind"] for each in objects} == set()
    assert "evenshard-dashboard" not in of_kind(objects, "ConfigMap")


def test_whoever_monitors_finds_the_port_of_every_service() -> None:
    objects = rendered(EVERYTHING)
    (monitor,) = [
        each for each in of_kind(objects, "ServiceMonitor").values() if "etcd" not in each["metadata"]["name"]
    ]
    services = [
        each
        for each in of_kind(objects, "Service").values()
        if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    (service,) = services
    (port,) = service["spec"]["ports"]
    assert (port["name"], service["metadata"]["name"]) == (monitor["spec"]["endpoints"][0]["port"], "evenshard-metrics")
    found = []
    for kind in ("Deployment", "StatefulSet"):
        for name, each in of_kind(objects, kind).items():
            template = each["spec"]["template"]
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items():
                (container,) = template["spec"]["containers"]
                assert {"name": "metrics", "containerPort": port["port"]} in container["ports"]
                assert f"--metrics-listen=0.0.0.0:{port['port']}" in container["args"]
                found.append(name)
    assert sorted(found) == sorted(each.owner for each in staying(objects) if each.name != "etcd")
    off = rendered({"metrics": {"enabled": False}})
    assert not any("--metrics-listen" in " ".join(each.spec.get("args", ())) for each in staying(off))
    assert "evenshard-metrics" not in of_kind(off, "Service")


def test_the_dashboard_is_the_committed_one_and_is_installed() -> None:
    assert dashboard_text() == DASHBOARD.read_text(encoding="utf-8"), "a panel changed: scripts/chart.sh"
    made = json.loads(dashboard_text())
    assert [each["id"] for each in made["panels"]] == list(range(1, len(made["panels"]) + 1))
    places = [tuple(each["gridPos"].values()) for each in made["panels"]]
    assert len(set(places)) == len(places)
    (config,) = [each for each in rendered(EVERYTHING) if each["kind"] == "ConfigMap" and "data" in each
                 and "evenshard.json" in each["data"]]  # fmt: skip
    assert json.loads(config["data"]["evenshard.json"]) == made
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: expressions were not parsed by Prometheus itself")
def test_prometheus_takes_the_rules_and_the_dashboards_expressions(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    file = tmp_path / "rules.yaml"
    shown = [each.replace("$__rate_interval", "5m").replace("$namespace", "x") for each in expressions()]
    records = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(shown)]
    for values in (EVERYTHING, COLLECTED):
        groups = [{"name": "alerts", "rules": rules_of(values)}, {"name": "panels", "rules": records}]
        file.write_text(json.dumps({"groups": groups}))
        done = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
