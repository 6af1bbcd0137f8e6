"""What may stand behind ``bench``, and what is sent then."""

from pathlib import Path
from typing import Any

import msgpack
import pytest

from balancer.bench.arguments import parse_bench
from balancer.cli import main


def payload(*arguments: str) -> Any:
    return msgpack.unpackb(parse_bench(arguments).plan.payload)


def test_what_is_done_unless_asked_otherwise() -> None:
    asked = parse_bench([])
    plan = asked.plan
    assert (plan.concurrency, plan.rate_per_s, plan.kill_every_s) == (8, None, None)
    assert (plan.duration_s, plan.timeout_s) == (10.0, 5.0)
    assert (asked.cluster, asked.address, asked.as_json) == ({}, None, False)
    assert payload() == "hello"


def test_everything_can_be_asked_for() -> None:
    words = "--rate 0.5 --duration 1m --timeout 500ms --kill-every 1s --json --name blue"
    asked = parse_bench([*words.split(), "--connect", "tcp://127.0.0.1:6000"])
    plan = asked.plan
    assert (plan.rate_per_s, plan.duration_s, plan.timeout_s) == (0.5, 60.0, 0.5)
    assert plan.kill_every_s == 1.0
    assert asked.cluster == {"name": "blue"}
    assert asked.address == "tcp://127.0.0.1:6000"
    assert asked.as_json
    assert parse_bench(["--concurrency", "64"]).plan.concurrency == 64


def test_a_request_is_any_value_of_json() -> None:
    assert payload("--request", "0.005") == 0.005
    assert payload("--request", '{"size": [1, null]}') == {"size": [1, None]}
    assert payload("--request", "null") is None


def test_a_payload_is_a_size_or_a_file(tmp_path: Path) -> None:
    assert payload("--payload", "10KiB") == bytes(10 * 1024)
    assert payload("--payload", "100") == bytes(100)
    value, raw = tmp_path / "value.json", tmp_path / "picture"
    value.write_text('{"a": 1}')
    raw.write_bytes(b"\x00\xff")
    assert payload("--payload", str(value)) == {"a": 1}
    assert payload("--payload", str(raw)) == b"\x00\xff"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--rate 5 --concurrency 8", "--rate and --concurrency exclude each other"),
        ("--request 1 --payload 1KiB", "--request and --payload exclude each other"),
        ("--rate 0", "--rate: '0' is not a rate; write requests per second, like 100"),
        ("--rate nan", "--rate: 'nan' is not a rate"),
        ("--rate 1e7", "at most 1000000"),
        ("--concurrency 0", "--concurrency: '0' is out of range"),
        ("--duration 0", "--duration: '0' is out of range"),
        ("--duration soon", "--duration: 'soon' is not a duration"),
        ("--timeout 0", "--timeout: '0' is out of range"),
        ("--kill-every 1ms", "--kill-every: '1ms' is out of range; write a duration from 100ms"),
        ("--request hello", "'hello' is not JSON"),
        ("--request hello", "a text is written '\"hello\"'"),
        ("--request 99999999999999999999", "msgpack cannot carry '99999999999999999999'"),
        ("--payload 0", "--payload: '0' is out of range"),
        ("--payload nofile", "'nofile' is neither a size like 10KiB nor a readable file: No such"),
        ("--payload /dev", "nor a readable file: Is a directory"),
        ("--payload pyproject.toml.json", "neither a size"),
        ("--connect 127.0.0.1:1", "--connect: '127.0.0.1:1' is not an address"),
        ("--name ../x", "--name: '../x' is not a name"),
        ("--rat 5", "unrecognized arguments: --rat"),
        ("hello", "unrecognized arguments: hello"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str, reason: str
) -> None:
    assert main(["bench", *arguments.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("run_cluster.py: error: ")
    assert shown.err.count("\n") == 1
    assert reason in shown.err


def test_a_json_file_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "value.json"
    path.write_text("{")
    assert main(["bench", "--payload", str(path)]) == 2
    assert "value.json is not JSON: " in capsys.readouterr().err


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    options = "rate concurrency duration request payload timeout kill-every connect name json"
    for option in options.split():
        assert f"--{option} " in shown
