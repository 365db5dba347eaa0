"""The Helm chart without a cluster: lint, schema, committed manifests, Kubernetes' own schemas, policies."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from evenshard.cli.main import COMMANDS
from evenshard.runtime import process
from evenshard.runtime.server import LIVENESS
from evenshard.runtime.settings import Settings
from evenshard.testing.chart import (
    CHART,
    GOLDEN,
    NAMESPACE,
    REPOSITORY,
    SCHEMA,
    Container,
    ci_files,
    containers,
    documents,
    golden_text,
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
EXISTING_METRICS = re.compile(r"(kubelet_volume_stats|kube_statefulset|etcd_server)_\w+")
"""Of Kubernetes and etcd; ours are looked up."""


@pytest.fixture(scope="module", params=CI_FILES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def rendered(path: Path) -> dict[str, str]:
    return render(values_of(path))


@pytest.fixture(scope="module")
def objects(rendered: dict[str, str]) -> list[dict[str, Any]]:
    return documents(rendered)


def of_kind(objects: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def services(objects: Sequence[Mapping[str, Any]]) -> list[Container]:
    """Containers that stay."""
    return [each for each in containers(objects) if each.kind in ("Deployment", "StatefulSet")]


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


def test_nobody_is_root_and_nothing_is_writable_but_volumes(objects: list[dict[str, Any]]) -> None:
    found = list(containers(objects))
    assert len(found) >= 6
    for each in found:
        pod, own = each.pod["securityContext"], each.spec["securityContext"]
        assert (pod["runAsNonRoot"], pod["runAsUser"], pod["runAsGroup"]) == (True, 10001, 10001), each.owner
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each.pod["automountServiceAccountToken"] is False
        assert not set(each.pod) & {"hostNetwork", "hostPID", "hostIPC"}
        volumes = {volume["name"]: volume for volume in each.pod.get("volumes", ())}
        assert not any("hostPath" in volume for volume in volumes.values())
        assert all(volume["emptyDir"]["sizeLimit"] for volume in volumes.values() if "emptyDir" in volume)


def test_images_are_of_a_version(objects: list[dict[str, Any]]) -> None:
    for each in containers(objects):
        image, _, digest = each.spec["image"].partition("@")
        tag = image.rpartition("/")[2].partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), each.spec["image"]
        assert not digest or re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


def test_everything_has_requests_and_limits(objects: list[dict[str, Any]]) -> None:
    for each in containers(objects):
        resources = each.spec["resources"]
        assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}, each.owner


def test_everything_that_stays_has_a_budget_a_spread_and_probes(objects: list[dict[str, Any]]) -> None:
    budgets = of_kind(objects, "PodDisruptionBudget")
    for kind in ("Deployment", "StatefulSet"):
        for name, each in of_kind(objects, kind).items():
            selector = each["spec"]["selector"]["matchLabels"]
            assert budgets[name]["spec"]["selector"]["matchLabels"] == selector
            pod = each["spec"]["template"]
            assert selector.items() <= pod["metadata"]["labels"].items()
            spreads = pod["spec"]["topologySpreadConstraints"]
            assert [spread["labelSelector"]["matchLabels"] for spread in spreads] == [selector] * len(spreads) != []
    assert set(budgets) == {each.owner for each in services(objects)}
    for each in services(objects):
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(each.spec), each.owner


def test_liveness_asks_for_nothing_but_life_and_the_start_may_take_a_recovery(objects: list[dict[str, Any]]) -> None:
    ours = [each for each in services(objects) if each.name != "etcd"]
    assert {each.name for each in ours} == {"shard", "counter", "router", "gateway"}
    for each in ours:
        (port,) = each.spec["ports"]
        assert each.spec["livenessProbe"]["grpc"] == {"port": port["containerPort"], "service": LIVENESS}
        for probe in ("startupProbe", "readinessProbe"):
            assert each.spec[probe]["grpc"] == {"port": port["containerPort"]}
        start = each.spec["startupProbe"]
        start_s = start["periodSeconds"] * start["failureThreshold"]
        env = {entry["name"]: entry.get("value") for entry in each.spec["env"]}
        # Without etcd a process gives up by itself, and says so, before it is killed without a word.
        assert start_s > int(env["EVENSHARD_ETCD_WAIT_SECONDS"])
        assert start_s >= {"shard": 1800, "counter": 600}.get(each.name, 300)


def test_a_pod_is_given_longer_than_it_drains(objects: list[dict[str, Any]]) -> None:
    drain_s = process.DRAIN_TIMEOUT_S + process.CLOSE_TIMEOUT_S
    for each in services(objects):
        if each.name == "etcd":
            continue
        command = each.spec["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        assert each.pod["terminationGracePeriodSeconds"] > int(command[1]) + drain_s


def test_what_is_stored_stays_and_shards_start_at_once(objects: list[dict[str, Any]]) -> None:
    sets = of_kind(objects, "StatefulSet")
    assert {name.rpartition("-")[2] for name in sets} >= {"shard", "counter"}
    for each in sets.values():
        spec = each["spec"]
        assert spec["podManagementPolicy"] == "Parallel"
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        (claim,) = spec["volumeClaimTemplates"]
        (container,) = spec["template"]["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert claim["spec"]["resources"]["requests"]["storage"]
        args = " ".join(container.get("args", ())) or " ".join(str(env.get("value")) for env in container["env"])
        assert f"{mounted[claim['metadata']['name']]}/data" in args
    assert "serviceName" in next(iter(sets.values()))["spec"]


def test_routers_and_gateways_scale_by_load_where_that_is_on(path: Path, objects: list[dict[str, Any]]) -> None:
    scalers, deployments = of_kind(objects, "HorizontalPodAutoscaler"), of_kind(objects, "Deployment")
    assert {name.rpartition("-")[2] for name in deployments} == {"router", "gateway"}
    on = path.name != "small-values.yaml"
    assert set(scalers) == (set(deployments) if on else set())
    for name, each in deployments.items():
        assert ("replicas" in each["spec"]) is not on, name
        if on:
            assert scalers[name]["spec"]["scaleTargetRef"]["name"] == name


def test_every_pod_that_listens_is_behind_a_policy(path: Path, objects: list[dict[str, Any]]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    for each in services(objects):
        policy = policies[each.owner]["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") or rule["ports"] == [{"port": "metrics"}] for rule in policy["ingress"])
        ports = {port["name"] for port in each.spec["ports"]}
        assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} <= ports
    callers = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policies["evenshard-shard"]["spec"]["ingress"]
        for peer in rule["from"]
    }
    assert callers == {"router", "gateway", "shard", "scale-check"}
    egress = [rule for rule in policies["evenshard-router"]["spec"]["egress"] if "to" not in rule]
    outside = {port["port"] for rule in egress for port in rule["ports"]}
    assert outside == {53, *({2379} if "external" in path.name else ()), *({4317} if "production" in path.name else ())}


def test_a_change_of_the_number_of_shards_is_checked_before_and_forgotten_after(objects: list[dict[str, Any]]) -> None:
    jobs = of_kind(objects, "Job")
    hooks = {name: each["metadata"]["annotations"]["helm.sh/hook"] for name, each in jobs.items()}
    assert hooks == {
        "evenshard-scale-check": "pre-upgrade,pre-rollback",
        "evenshard-forget-shards": "post-upgrade,post-rollback",
    }
    shards = str(of_kind(objects, "StatefulSet")["evenshard-shard"]["spec"]["replicas"])
    arguments = {name: each["spec"]["template"]["spec"]["containers"][0]["args"] for name, each in jobs.items()}
    assert arguments == {
        "evenshard-scale-check": ["scale-check", "--shards", shards],
        "evenshard-forget-shards": ["scale-check", "--shards", shards, "--forget"],
    }


def test_every_command_of_the_chart_is_one_of_evenshards(objects: list[dict[str, Any]]) -> None:
    for each in containers(objects):
        if each.name != "etcd":
            assert "command" not in each.spec
            assert each.spec["args"][0] in COMMANDS, each.spec["args"]


def test_settings_are_written_as_services_read_them(
    objects: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in services(objects):
        ours = {env["name"]: env["value"] for env in each.spec["env"] if env["name"].startswith("EVENSHARD_")}
        for name, value in ours.items():
            assert name.removeprefix("EVENSHARD_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
        if ours:
            assert Settings().etcd_crash_safe is True


def test_alerts_are_on_metrics_that_exist_and_say_what_to_do() -> None:
    from evenshard.runtime import metrics

    text = Path(metrics.__file__).read_text()
    made = {name.replace(".", "_") for name in re.findall(r'"(evenshard\.[\w.]+)"', text)}
    values = {"prometheusRule": {"enabled": True}, "etcd": {"serviceMonitor": {"enabled": True}}}
    (rules,) = of_kind(documents(render(values)), "PrometheusRule").values()
    alerts = {rule["alert"]: rule for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert set(alerts) == {"DiskFilling", "ShardAway", "ShardMemoryFull", "KernelCompiledLate", "EtcdAway"}
    for name, rule in alerts.items():
        used = set(re.findall(r"\b(?:evenshard|kube|kubelet|etcd)_\w+", re.sub(r'"[^"]*"', "", rule["expr"])))
        assert used, name
        for metric in used:
            ours = re.sub(r"_(bytes|total)$", "", metric)
            assert ours in made if metric.startswith("evenshard_") else EXISTING_METRICS.fullmatch(metric), metric
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in ("warning", "critical")
    assert of_kind(documents(render({})), "PrometheusRule") == {}


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
