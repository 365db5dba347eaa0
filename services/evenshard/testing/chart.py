"""The Helm chart without a cluster: its rendered manifests, and what is made from it and committed beside it.

``python -m evenshard.testing.chart``: writes the golden manifests of every file in ``ci/``, the schema of settings, and
the dashboard.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evenshard.runtime.settings import Settings
from evenshard.testing.dashboard import dashboard_text

REPOSITORY: Final = Path(__file__).resolve().parents[3]
CHART: Final = REPOSITORY / "helm" / "evenshard"
GOLDEN: Final = CHART / "ci" / "golden"
DASHBOARD: Final = CHART / "dashboards" / "evenshard.json"
SCHEMA: Final = CHART / "values.schema.json"
RELEASE: Final = "evenshard"
NAMESPACE: Final = "analytics"
_BY_CHART: Final = frozenset(["etcd_ca_file", "etcd_cert_file", "etcd_key_file", "trace_file", "metrics_listen"])
"""Settings the chart makes itself, or has no place for: files that nobody mounted."""
_BOUNDS: Final = {"ge": "minimum", "le": "maximum", "min_length": "minLength"}
_TYPES: Final[dict[Any, str]] = {int: "integer", bool: "boolean", str: "string", float: "number"}


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a rendered pod, and whose it is."""

    kind: str
    """Of the object that makes the pod: ``StatefulSet``, ``CronJob`` …"""
    owner: str
    pod: Mapping[str, Any]
    """The pod's spec."""
    spec: Mapping[str, Any]
    """The container's."""

    @property
    def name(self) -> str:
        return str(self.spec["name"])


def ci_files() -> Sequence[Path]:
    """The values files that are rendered and held."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def values_of(path: Path) -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def render(values: Mapping[str, Any], name: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """The manifests by template; raises helm's ``HelmError`` for values that are refused."""
    import helm_python as helm

    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(dict(values))
        rendered = chart.render(dict(values), name=name, namespace=namespace)
    return {path: text for path, text in sorted(rendered.items()) if path.endswith(".yaml") and text.strip()}


def documents(rendered: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every object, in the order of templates."""
    import yaml

    return [document for text in rendered.values() for document in yaml.safe_load_all(text) if document]


def containers(objects: Sequence[Mapping[str, Any]]) -> Iterator[Container]:
    """Of every pod that these objects make."""
    for each in objects:
        spec = each.get("spec", {})
        match each["kind"]:
            case "Pod":
                pod = spec
            case "CronJob":
                pod = spec["jobTemplate"]["spec"]["template"]["spec"]
            case "Job" | "Deployment" | "StatefulSet" | "DaemonSet":
                pod = spec["template"]["spec"]
            case _:
                continue
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            yield Container(each["kind"], each["metadata"]["name"], pod, container)


def of_kind(objects: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Those of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def staying(objects: Sequence[Mapping[str, Any]]) -> list[Container]:
    """Containers of services, which stay, and not of jobs."""
    return [each for each in containers(objects) if each.kind in ("Deployment", "StatefulSet")]


def golden_text(rendered: Mapping[str, str]) -> str:
    """One file of all manifests, as it is committed."""
    parts = [f"# Source: {path}\n{text.strip()}\n" for path, text in rendered.items()]
    return "".join(part if part.split("\n", 1)[1].startswith("---") else f"---\n{part}" for part in parts)


def settings_schema() -> dict[str, Any]:
    """What ``settings`` of the chart may hold: type, bounds and effect of each, as ``evenshard config`` shows them."""
    properties = {}
    for name, info in Settings.model_fields.items():
        if name in _BY_CHART:
            continue
        assert info.annotation is not None
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        described = {"type": _TYPES[info.annotation], "description": f"{info.description} ({extra.get('unit', '')})"}
        for bound in info.metadata:
            described |= {key: getattr(bound, its) for its, key in _BOUNDS.items() if hasattr(bound, its)}
        properties[name] = described
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema_text() -> str:
    """The chart's schema with the settings of now."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes what is committed."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    DASHBOARD.parent.mkdir(exist_ok=True)
    DASHBOARD.write_text(dashboard_text(), encoding="utf-8")
    GOLDEN.mkdir(exist_ok=True)
    for path in ci_files():
        golden = GOLDEN / path.name.replace("-values", "")
        golden.write_text(golden_text(render(values_of(path))), encoding="utf-8")
        print(f"written: {golden.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
