"""What every rendered chart keeps to: no root, limits, probes, budgets, policies."""

import re
from pathlib import Path
from typing import Any

import pytest
from evenshard.cli.main import COMMANDS
from evenshard.runtime import process
from evenshard.runtime.server import LIVENESS
from evenshard.runtime.settings import Settings
from evenshard.testing.chart import containers, of_kind, staying

pytest.importorskip("helm_python", reason="NO CHART TESTED: pip install evenshard[charts]")


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
    assert set(budgets) == {each.owner for each in staying(objects)}
    for each in staying(objects):
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(each.spec), each.owner


def test_liveness_asks_for_nothing_but_life_and_the_start_may_take_a_recovery(objects: list[dict[str, Any]]) -> None:
    ours = [each for each in staying(objects) if each.name != "etcd"]
    assert {each.name for each in ours} == {"shard", "counter", "router", "gateway"}
    for each in ours:
        port = next(port for port in each.spec["ports"] if port["name"] == "grpc")
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
    for each in staying(objects):
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
    for each in staying(objects):
        policy = policies[each.owner]["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") or rule["ports"] == [{"port": "metrics"}] for rule in policy["ingress"])
        ports = {port["name"] for port in each.spec["ports"]}
        assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} <= ports
    callers = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policies["evenshard-shard"]["spec"]["ingress"]
        if rule["ports"] == [{"port": "grpc"}]
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
    for each in staying(objects):
        ours = {env["name"]: env["value"] for env in each.spec["env"] if env["name"].startswith("EVENSHARD_")}
        for name, value in ours.items():
            assert name.removeprefix("EVENSHARD_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
        if ours:
            assert Settings().etcd_crash_safe is True
