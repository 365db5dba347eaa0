"""The containers of a rendered chart as processes of this machine: arguments, environment and probes as rendered.

Each pod has an address of its own (127.x.y.z), so that ports are those of the chart. What a kubelet would do is done
here: fields of the pod become variables, ``$(NAME)`` is replaced, names of hosts are looked up, volumes are folders,
probes are asked, a pod that ends gets SIGTERM. Nothing else of a cluster is there: no policies, no limits, no preStop.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from evenshard.runtime.etcd_binary import find_etcd
from evenshard.testing.chart import NAMESPACE, Container, containers
from evenshard.testing.image import DOCKERFILE, stages

READY_TIMEOUT_S: Final = 60.0
ENTRYPOINT: Final = {"evenshard": [sys.executable, "-m", "evenshard.cli.main"]}
"""What the image's program is here."""
STAYING: Final = ("StatefulSet", "Deployment")
_ANY_ADDRESS: Final = "0.0.0.0"


@dataclass
class Pod:
    """One pod with its one container."""

    name: str
    index: int
    address: str
    container: Container
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def probe(self, which: str) -> bool:
        """Asks as its ``readinessProbe`` and so on say; a probe over HTTP is asked by whoever needs it."""
        asked = self.container.spec[which]["grpc"]
        with grpc.insecure_channel(f"{self.address}:{asked['port']}", [("grpc.enable_http_proxy", 0)]) as channel:
            request = health_pb2.HealthCheckRequest(service=asked.get("service", ""))
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class ChartCluster:
    """Everything that stays, started by ``start``; a context manager that ends what it started."""

    def __init__(self, objects: Sequence[Mapping[str, Any]], folder: Path) -> None:
        self._objects = objects
        self._containers = list(containers(objects))
        self._folder = folder
        network = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
        self.pods: list[Pod] = []
        for each in self._containers:
            for index in range(self._replicas(each)):
                name = f"{each.owner}-{index}"
                (folder / name).mkdir(parents=True, exist_ok=True)
                self.pods.append(Pod(name, index, f"{network}.{len(self.pods) + 1}", each, folder / name))

    def __enter__(self) -> "ChartCluster":
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Whatever still runs, at once."""
        for pod in self.pods:
            if pod.process is not None and pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait(10)

    def named(self, component: str) -> list[Pod]:
        """A component's pods, by number."""
        return [pod for pod in self.pods if pod.container.name == component]

    def start(self) -> None:
        """All at once, as Kubernetes does; returns when all are ready."""
        for pod in self.pods:
            self.start_pod(pod)
        for pod in self.pods:
            if "grpc" in pod.container.spec["readinessProbe"]:
                self.wait_ready(pod)

    def start_pod(self, pod: Pod) -> None:
        arguments, environment = self._command(pod.container, pod)
        with pod.log.open("ab") as log:
            pod.process = subprocess.Popen(
                arguments, env=environment, cwd=pod.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self, pod: Pod) -> None:
        """Raises ``RuntimeError`` with its log where it ends, or takes too long."""
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while not pod.probe("readinessProbe"):
            if pod.process is None or pod.process.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"{pod.name} is not ready: {pod.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop_pod(self, pod: Pod) -> int:
        """SIGTERM; its exit status. Raises ``TimeoutExpired`` where it takes longer than it is given."""
        assert pod.process is not None
        pod.process.send_signal(signal.SIGTERM)
        return pod.process.wait(pod.container.pod["terminationGracePeriodSeconds"])

    def run(self, owner: str, arguments: Sequence[str] | None = None) -> "subprocess.CompletedProcess[str]":
        """The container of a job, hook or test, to its end; ``arguments`` instead of its own."""
        (container,) = [each for each in self._containers if each.owner == owner]
        command, environment = self._command(container, None, arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process outside: how this machine runs Python, and where routers and gateways are."""
        first = {name: self.named(name)[0] for name in ("router", "gateway")}
        addresses = {
            f"EVENSHARD_{name.upper()}": f"{pod.address}:{pod.container.spec['ports'][0]['containerPort']}"
            for name, pod in first.items()
        }
        return {**_machine(), **addresses, **more}

    def _replicas(self, container: Container) -> int:
        if container.kind not in STAYING:
            return 0
        (owner,) = [
            each
            for each in self._objects
            if each["kind"] == container.kind and each["metadata"]["name"] == container.owner
        ]
        return int(owner["spec"].get("replicas", 1))

    def _command(
        self, container: Container, pod: Pod | None, arguments: Sequence[str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        variables: dict[str, str] = {}
        for entry in container.spec.get("env", ()):
            value = (
                entry["value"] if "value" in entry else self._field(entry["valueFrom"]["fieldRef"]["fieldPath"], pod)
            )
            variables[entry["name"]] = self._here(_replaced(value, variables), pod)
        given = container.spec.get("args", []) if arguments is None else arguments
        said = [self._here(_replaced(each, variables), pod) for each in given]
        command = container.spec.get("command")
        program = _entrypoint() if command is None else [str(find_etcd().path)]
        return [*program, *said], {**_machine(), **variables}

    def _field(self, path: str, pod: Pod | None) -> str:
        assert pod is not None, "a job has no field of a pod"
        known = {
            "status.podIP": pod.address,
            "metadata.name": pod.name,
            "metadata.labels['apps.kubernetes.io/pod-index']": str(pod.index),
        }
        return known[path]

    def _here(self, text: str, pod: Pod | None) -> str:
        """Hosts, volumes and the address that stands for all, as they are on this machine."""
        for each in self.pods:
            text = text.replace(f"{each.name}.{each.container.owner}.{NAMESPACE}.svc", each.address)
        for owner in {each.container.owner for each in self.pods}:
            first = next(each for each in self.pods if each.container.owner == owner)
            text = re.sub(rf"(?<![\w.-]){re.escape(owner)}(?=:\d)", first.address, text)
        if pod is not None:
            text = text.replace(_ANY_ADDRESS, pod.address)
            for mount in pod.container.spec.get("volumeMounts", ()):
                if mount["mountPath"].startswith("/var/lib/"):
                    text = text.replace(mount["mountPath"], str(pod.folder / mount["name"]))
        return text


def _machine() -> dict[str, str]:
    """What any process of this installation needs here and a container has by its image: no HOME, no settings."""
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "NUMBA_CACHE_DIR", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _replaced(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` of variables defined before, as the kubelet does."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), text)


def _entrypoint() -> list[str]:
    """The image's, as it is run here."""
    (entry,) = [each for each in stages(DOCKERFILE.read_text(encoding="utf-8"))[-1] if each.name == "ENTRYPOINT"]
    program, *arguments = entry.words
    return [*ENTRYPOINT[program], *arguments]
