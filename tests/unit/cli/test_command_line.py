"""The conventions every command keeps: one document, errors as documents, exit statuses."""

import json
import socket

import pytest
from evenshard import __version__
from evenshard.cli.main import run
from evenshard.cli.output import print_error
from evenshard.errors import EvenshardError, FieldFault
from evenshard.runtime.settings import Settings


def test_version_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(document) == ["format_version", "hash_version", "version"]
    assert document["version"] == __version__
    assert run(["version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_config_shows_every_setting_as_it_is_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENSHARD_COMPACT_ROWS", "1234")
    assert run(["config", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)["settings"]}
    assert listed.keys() == Settings.model_fields.keys()
    assert (listed["compact_rows"]["value"], listed["compact_rows"]["default"]) == (
        1234,
        Settings.model_fields["compact_rows"].default,
    )
    assert all(sorted(each) == ["default", "effect", "name", "unit", "value"] for each in listed.values())
    assert [name for name, each in listed.items() if not each["effect"] or not each["unit"]] == []


def test_a_wrong_setting_in_the_environment_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENSHARD_COMPACT_ROWS", "many")
    assert run(["config", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["details"]["fields"][0]["field"]) == ("USAGE", "EVENSHARD_COMPACT_ROWS")


@pytest.mark.parametrize("arguments", [["version", "--bogus"], ["version", "surplus"], ["status", "--router"]])
def test_wrong_usage_is_one_document_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run([*arguments, "--json"] if arguments[-1] != "--router" else ["status", "--json", "--router"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["error"]
    assert sorted(document["error"]) == ["code", "details", "hint", "message", "retryable", "trace_id"]
    assert document["error"]["code"] == "USAGE"
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.startswith("error USAGE")) == ("", True)


def test_status_without_a_router_shows_it_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    assert run(["status", "--json", "--router", address]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["healthy"], document["directory_revision"]) == (False, None)
    assert [(each["address"], each["status"]) for each in document["services"]] == [(address, "UNREACHABLE")]
    assert sorted(document["services"][0]) == [
        "address", "kind", "name", "pid", "reason", "restarts", "rss_bytes", "status",
    ]  # fmt: skip


def test_what_a_message_says_already_is_not_said_again_of_its_field(capsys: pytest.CaptureFixture[str]) -> None:
    told = FieldFault("limit", "0 is none"), FieldFault("by", "at most 3 properties")
    error = EvenshardError("QUERY_INVALID", "limit: 0 is none", hint="ask for less", fields=told)
    print_error(error, as_json=False)
    assert capsys.readouterr().err.splitlines() == [
        "error QUERY_INVALID: limit: 0 is none",
        "  by: at most 3 properties",
        "  ask for less",
    ]
