"""The command line, mostly as a person meets it: a process with exit code, stdout and stderr."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from balancer.arguments import VERSION
from balancer.cli import main
from balancer.commands import show_status, stop
from balancer.control import listen
from balancer.options import OPTIONS
from balancer.runtime_directory import RuntimeDirectory
from tests.shell.test_status import status, worker

ROOT = Path(__file__).parents[2]


def run(*arguments: str, python: tuple[str, ...] = (), **environ: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the real program."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CLUSTER_")}
    done = subprocess.run(
        [sys.executable, *python, "run_cluster.py", *arguments],
        cwd=ROOT,
        env=clean | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the arguments are refused, without its beginning."""
    assert main(list(arguments)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("run_cluster.py: error: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("run_cluster.py: error: ").rstrip("\n")


# --- help, version, configuration --------------------------------------------------------------


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    code, shown, errors = run("--version")
    assert (code, shown.split(",")[0].rstrip(), errors) == (0, f"{project['name']} {VERSION}", "")


def test_help_names_every_option_with_its_default_and_every_command() -> None:
    code, shown, errors = run("--help", COLUMNS="1000")
    assert (code, errors) == (0, "")
    for option in OPTIONS:
        assert option.flag in shown
        assert f"{option.help} (default: {option.shown_default})" in shown
    for text in ("--no-restart", "-w N", "check", "status", "stop", "examples:", "exit codes:"):
        assert text in shown


def test_help_fits_into_80_columns_but_for_the_fixed_texts() -> None:
    _, shown, _ = run("--help", COLUMNS="80")
    assert max(map(len, shown.splitlines())) <= 92


@pytest.mark.parametrize("command", ["check", "status", "stop"])
def test_each_command_has_its_help(command: str) -> None:
    code, shown, _ = run(command, "--help")
    assert code == 0
    assert "--name NAME" in shown
    assert ("--json" in shown) == (command == "status")


def test_printed_configuration_can_be_fed_back(tmp_path: Path) -> None:
    code, printed, _ = run(
        "a:run", "-w", "3", "b:run", "--deadline=5s", "--no-restart", "--print-config"
    )
    assert code == 0
    path = tmp_path / "cluster.toml"
    path.write_text(printed)
    assert run("--config", str(path), "--print-config") == (0, printed, "")
    assert 'deadline = "5s"' in printed
    assert "restart = false" in printed
    assert printed.count("workers = 3") == 2


def test_the_environment_is_read() -> None:
    code, printed, _ = run("--print-config", CLUSTER_HANDLERS="a:b", CLUSTER_STRIKES="9")
    assert code == 0
    assert "strikes = 9" in printed
    assert 'handler = "a:b"' in printed


def test_the_last_of_two_switches_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-restart", "--restart", "--print-config"]) == 0
    assert "restart = true" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "run_cluster.py", "--print-config"]
    done = subprocess.run(
        program, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# --- refusals ----------------------------------------------------------------------------------


def test_a_bad_configuration_is_one_line_and_exit_code_2() -> None:
    assert run("--try-timeout", "60s", "--deadline", "30s") == (
        2,
        "",
        "run_cluster.py: error: try_timeout (60s) must be shorter than deadline (30s): "
        "raise --deadline or lower --try-timeout\n",
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["statsu"],
            "is neither a command nor a handler (module:attribute); did you mean 'status'?",
        ),
        (
            ["jobs"],
            "'jobs' is neither a command nor a handler (module:attribute), for example work",
        ),
        (["atop"], "(module:attribute), for example"),
        (["a:b", "status"], "'status' must be the first word: run_cluster.py status [options]"),
        (["a:"], "HANDLER: 'a:' is not a handler"),
        (["--try-timout", "3s"], "unknown option '--try-timout'; did you mean '--try-timeout'?"),
        (["--try-timout=3s"], "unknown option '--try-timout'; did you mean '--try-timeout'?"),
        (["--dead", "3s"], "unknown option '--dead'"),
        (["--deadline"], "argument --deadline: expected one argument (see run_cluster.py --help)"),
        (["--deadline", "soon"], "--deadline: 'soon' is not a duration"),
        (
            ["--bind", "tcp://0.0.0.0:1"],
            "--bind: refused: 'tcp://0.0.0.0:1' would open the cluster",
        ),
        (["-w0"], "--workers: '0' is out of range"),
        (["--config", "no\n.toml"], "cannot read no\\n.toml: No such file or directory"),
        (["status", "--jsn"], "unrecognized arguments: --jsn"),
        (["stop", "now"], "unrecognized arguments: now"),
        (["stop", "--name", "../x"], "--name: '../x' is not a name"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert reason in refusal(capsys, *arguments)


def test_a_python_without_our_packages_is_told_what_to_do() -> None:
    code, shown, errors = run(python=("-S",))
    assert (code, shown) == (2, "")
    assert errors.count("\n") == 1
    assert "has no pyzmq and no msgpack: python3 -m venv .venv && .venv/bin/pip install" in errors


# --- imports -----------------------------------------------------------------------------------


def test_nothing_slow_is_imported_before_the_launcher_spawns() -> None:
    slow = "{'zmq', 'msgpack', 'asyncio', 'json', 'tomllib', 'difflib', 'logging', 'socket'}"
    code = (
        f"import sys, balancer.cli as c; c.load({{}}, (), {{}}); print({slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# --- commands ----------------------------------------------------------------------------------


@contextmanager
def cluster(name: str, **replies: Mapping[str, Any]) -> Iterator[None]:
    """Something that answers the commands as a launcher of this name does, until it is told to
    stop: then it is gone."""
    directory = RuntimeDirectory(name)
    listener = listen(name)
    listener.settimeout(20)
    answering = threading.Thread(target=answer_until_stopped, args=(listener, replies))
    answering.start()
    try:
        yield
    finally:
        listener.close()
        answering.join()
        directory.close()


def answer_until_stopped(listener: socket.socket, replies: Mapping[str, Mapping[str, Any]]) -> None:
    op = ""
    while op != "stop" and replies:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            op = json.loads(stream.readline())["op"]
            stream.write(json.dumps({"op": op, **replies[op]}).encode() + b"\n")
            replies = {key: reply for key, reply in replies.items() if key != op}
    listener.close()


def test_status_of_a_running_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = status(worker("server1-1", served=5))
    name = f"cli-{os.getpid()}"
    with cluster(name, status=snapshot):
        assert main(["status", "--name", name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("cluster default  running  tcp://127.0.0.1:5555")
    assert "\nserver1-1  idle " in shown


def test_stop_waits_until_the_cluster_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"cli-{os.getpid()}"
    with cluster(name, stop={}):
        assert main(["stop", "--name", name]) == 0
    assert capsys.readouterr().out == f"cluster {name!r} stopped\n"


@pytest.mark.parametrize("command", ["status", "stop"])
def test_without_a_cluster_a_command_says_how_to_start_one(command: str) -> None:
    name = f"nobody-{os.getpid()}"
    exit_code, output, error = run(command, CLUSTER_NAME=name)
    assert (exit_code, output) == (1, "")
    how = f"; start one with: python run_cluster.py --name {name}"
    # Other tests may have some at the same time.
    assert re.fullmatch(f"no cluster named {name!r} is running({how}|, but by --name: .+)\n", error)


def test_a_name_without_its_option_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    complaint = (
        "unrecognized arguments: blue; did you mean --name blue? (see run_cluster.py --help)"
    )
    assert refusal(capsys, "status", "blue") == complaint


def test_status_as_json_is_the_stable_format(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = status(worker("server1-1", why="\x1b[2J"))
    asked = []

    def ask(name: str, op: str) -> dict[str, Any]:
        asked.append((name, op))
        return {"op": op, **snapshot}

    assert show_status("blue", True, ask) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == snapshot
    assert "\x1b" not in shown
    assert asked == [("blue", "status")]


def test_stop_reports_a_cluster_that_does_not_go(capsys: pytest.CaptureFixture[str]) -> None:
    waited_s = []

    def wait_until_gone(name: str, timeout_s: float) -> bool:
        waited_s.append(timeout_s)
        return False

    assert stop("blue", lambda name, op: {"op": op, "drain_timeout_s": 60.0}, wait_until_gone) == 1
    assert capsys.readouterr().err == (
        "run_cluster.py: error: cluster 'blue' is still stopping after 75s\n"
    )
    assert waited_s == [75.0]
