"""The Helm chart without a cluster: lint, schema, committed manifests, Kubernetes' own schemas, policies."""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from evenshard.runtime.settings import Settings
from evenshard.testing.chart import (
    CHART,
    GOLDEN,
    NAMESPACE,
    REPOSITORY,
    SCHEMA,
    ci_files,
    documents,
    golden_text,
    of_kind,
    render,
    schema_text,
    settings_schema,
    values_of,
)

helm = pytest.importorskip("helm_python", reason="NO CHART TESTED: pip install evenshard[charts]")
kubernetes = pytest.importorskip("kubernetes_validate", reason="NO CHART TESTED: pip install evenshard[charts]")

CI_FILES = ci_files()
OLDEST, NEWEST = "1.28", "1.37"
"""Versions of Kubernetes: what the chart says it needs, and what there is."""
NO_SCHEMA = {"ServiceMonitor", "PrometheusRule"}
"""Of Prometheus' operator."""
OF_ITEMS = ("topologyKey", "maxSkew", "whenUnsatisfiable")
"""Fields of a list's items, which are told of at the list."""


def test_there_is_a_file_for_a_trial_for_production_and_for_an_etcd_of_ones_own() -> None:
    names = [each.name for each in CI_FILES]
    assert names == ["external-etcd-values.yaml", "production-values.yaml", "small-values.yaml"]


def test_lint_finds_nothing_with_any_file(path: Path) -> None:
    report = helm.lint(str(CHART), values_of(path), strict=True, with_subcharts=True, namespace=NAMESPACE)
    found = [each for each in report["messages"] if each["error"] != "icon is recommended"]
    assert (found, report["errors"]) == ([], [])


def test_manifests_are_those_that_are_committed(path: Path, rendered: dict[str, str]) -> None:
    golden = GOLDEN / path.name.replace("-values", "")
    assert golden_text(rendered) == golden.read_text(), "read the difference, then: scripts/chart.sh"


def test_the_schema_knows_the_settings_of_now() -> None:
    assert schema_text() == SCHEMA.read_text(), "a setting changed: scripts/chart.sh"
    assert set(settings_schema()["properties"]) < set(Settings.model_fields)


def test_manifests_are_what_kubernetes_takes(path: Path, objects: list[dict[str, Any]]) -> None:
    for version in (OLDEST, NEWEST) if "production" in path.name else (NEWEST,):
        for each in objects:
            if each["kind"] not in NO_SCHEMA:
                kubernetes.validate(each, version, strict=True)
    assert len(objects) > 15


def test_a_field_that_kubernetes_does_not_know_would_be_seen(objects: list[dict[str, Any]]) -> None:
    shard = of_kind(objects, "StatefulSet")["evenshard-shard"]
    wrong = shard | {"spec": shard["spec"] | {"podManagmentPolicy": "Parallel"}}
    with pytest.raises(kubernetes.ValidationError, match="podManagmentPolicy"):
        kubernetes.validate(wrong, NEWEST, strict=True)


def test_every_value_is_in_the_schema_and_has_a_comment() -> None:
    for folder in (CHART, CHART / "charts" / "etcd"):
        for before, line in pairwise((folder / "values.yaml").read_text().splitlines()):
            value = re.match(r" *(\w+): *\S", line)
            if value is not None and value[1] not in OF_ITEMS:
                assert before.strip().startswith("#"), (folder.name, line)
        schema = json.loads((folder / "values.schema.json").read_text())
        assert _unknown(values_of(folder / "values.yaml"), schema) == []


def _unknown(values: Mapping[str, Any], schema: Mapping[str, Any], place: str = "") -> list[str]:
    found: list[str] = []
    if schema.get("additionalProperties") is not False:
        return found
    for name, value in values.items():
        if name not in schema["properties"]:
            found.append(place + name)
        elif isinstance(value, dict):
            found += _unknown(value, schema["properties"][name], f"{place}{name}.")
    return found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shards": {"replicas": 3}}, "shards"),
        ({"shard": {"replica": 3}}, "replica"),
        ({"settings": {"shard_memory_byte": 1 << 30}}, "shard_memory_byte"),
        ({"settings": {"shard_memory_bytes": 1000}}, "shard_memory_bytes"),
        ({"settings": {"etcd_crash_safe": "yes"}}, "etcd_crash_safe"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"etcd": {"replicas": 2}}, "replicas"),
        ({"etcd": {"persistance": {"size": "1Gi"}}}, "persistance"),
        ({"shard": {"resources": {"limits": {"memory": "2G"}}}}, "memory"),
        ({"externalEtcd": {"endpoints": ["etcd"]}}, "endpoints"),
    ],
)
def test_a_typo_is_refused_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        render(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"etcd": {"image": {"tag": "v3.5.1"}}}, "etcd.image.tag is v3.5.1: etcd 3.5.0 to 3.5.2 can lose consistency"),
        (
            {"etcd": {"enabled": False}, "externalEtcd": {"endpoints": ["e:2379"], "version": "3.5.2"}},
            "externalEtcd.version is 3.5.2: etcd 3.5.0 to 3.5.2 can lose consistency in a crash; use 3.5.3 or newer",
        ),
        (
            {"etcd": {"enabled": False}, "externalEtcd": {"endpoints": ["e:2379"], "version": "3.3.27"}},
            "externalEtcd.version is 3.3.27: evenshard needs etcd 3.4 or newer",
        ),
        ({"etcd": {"enabled": False}}, "there is no etcd: name yours by externalEtcd.endpoints"),
        ({"externalEtcd": {"endpoints": ["e:2379"]}}, "set etcd.enabled=false, or leave the endpoints out"),
        (
            {"settings": {"shard_memory_bytes": 4 << 30}},
            "shard.resources.limits.memory is 1536Mi, but its settings want 4352Mi: raise the limit",
        ),
        ({"settings": {"split_rows_bytes": 1 << 30}}, "gateway.resources.limits.memory is 1536Mi"),
        ({"settings": {"router_inflight_bytes": 1 << 30}}, "router.resources.limits.memory is 1Gi"),
        ({"settings": {"counter_keys": 100_000_000}}, "counter.resources.limits.memory is 768Mi"),
        ({"router": {"autoscaling": {"minReplicas": 9}}}, "router.autoscaling.maxReplicas is below minReplicas"),
    ],
)
def test_what_would_not_work_is_refused_with_the_remedy(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(said)):
        render(values)


def test_versions_of_etcd_that_are_safe_are_taken() -> None:
    for version in ("3.4.23", "3.5.3", "v3.5.20"):
        values = {"etcd": {"enabled": False}, "externalEtcd": {"endpoints": ["e:2379"], "version": version}}
        assert documents(render(values))


def test_values_that_the_guide_names_exist() -> None:
    text = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    values = values_of(CHART / "values.yaml")
    values["etcd"] |= values_of(CHART / "charts" / "etcd" / "values.yaml")
    named = set(re.findall(rf"(?:`|--set )((?:{'|'.join(values)})\.\w+(?:\.\w+)?)(?=[`=])", text))
    assert len(named) > 12
    for name in named:
        found: Any = values
        for part in name.split("."):
            if found is values["settings"]:
                assert part in settings_schema()["properties"], name
                break
            assert part in found, name
            found = found[part]
