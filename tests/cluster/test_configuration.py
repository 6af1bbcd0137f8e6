"""A cluster that cannot work says so in one line with the fix; handlers are found where one is."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq

from tests.cluster.running import Cluster, free_address, plain_client, run_cluster_command

JOBS = """
NUMBER = 1

class Silent:
    pass

async def asynchronous(request):
    return request

def no_arguments():
    pass

def handle(request):
    return ["handled", request]
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory of the user's with a module of theirs."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "broken.py").write_text("def load():\n    raise OSError('no model file')\nload()\n")
    return tmp_path


def run_in(here: Path, *arguments: str) -> tuple[int, list[str]]:
    """The exit code and all lines that it printed."""
    name = f"test-configuration-{os.getpid()}"
    done = subprocess.run(
        run_cluster_command("--name", name, *arguments),
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout.splitlines()


def complaint(here: Path, *arguments: str, exit_code: int = 2) -> str:
    """The one line that it printed."""
    code, lines = run_in(here, *arguments)
    assert (code, len(lines)) == (exit_code, 1), lines
    assert lines[0].startswith("run_cluster.py: error: ")
    return lines[0].removeprefix("run_cluster.py: error: ")


# --- what cannot work -----------------------------------------------------------------------------


def test_a_try_that_may_outlast_its_request_is_refused(here: Path) -> None:
    assert complaint(here, "--try-timeout", "60s", "--deadline", "30s") == (
        "try_timeout (60s) must be shorter than deadline (30s): "
        "raise --deadline or lower --try-timeout"
    )


def test_an_address_that_others_can_reach_is_refused(here: Path) -> None:
    text = complaint(here, "--bind", "tcp://0.0.0.0:5555")
    assert "without encryption; bind to 127.0.0.1 or ipc" in text


def test_an_unknown_option_in_the_file_is_named_with_its_neighbour(here: Path) -> None:
    (here / "cluster.toml").write_text('try_timout = "5s"\n')
    assert complaint(here, "--config", "cluster.toml") == (
        "cluster.toml: unknown option 'try_timout'; the nearest is 'try_timeout'"
    )


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("nowhere:handle", "there is no module 'nowhere' (looked in the current directory and"),
        ("nowhere.deep:handle", "there is no module 'nowhere'"),
        ("jobs:handel", "there is no attribute 'handel', did you mean 'handle'?"),
        ("jobs:NUMBER", "cannot be called: name a function, or a class with __call__"),
        ("jobs:Silent", "cannot be called: name a function, or a class with __call__"),
        ("jobs:asynchronous", "is async: a handler must be a plain function"),
        ("jobs:no_arguments", "must take one argument, the request"),
        ("jobs.py:handle", "there is no module 'jobs.py' (write jobs:attribute, without .py)"),
        ("jobs", "neither a command nor a handler (module:attribute)"),
    ],
)
def test_an_unknown_handler_is_one_line_that_says_the_fix(
    here: Path, handler: str, text: str
) -> None:
    assert text in complaint(here, handler, "-w", "3", "--bind", free_address())


def test_one_unknown_handler_among_good_ones_is_told_as_well(here: Path) -> None:
    code, lines = run_in(here, "jobs:handle", "nowhere:handle", "--bind", free_address())
    assert code == 2
    assert lines[-1].startswith("run_cluster.py: error: there is no module 'nowhere'")
    assert "Traceback" not in "\n".join(lines)


@pytest.fixture
def used_port() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def test_a_port_that_is_in_use_is_exit_code_3(here: Path, used_port: str) -> None:
    assert complaint(here, "jobs:handle", "--bind", used_port, exit_code=3) == (
        f"cannot bind {used_port}: Address already in use; stop what uses it, "
        "or give --bind another address"
    )


def test_a_path_that_is_in_use_is_exit_code_3_and_stays_its_owners(here: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(here / "socket"))
        taken.listen()
        address = f"ipc://{here}/socket"
        text = complaint(here, "jobs:handle", "--bind", address, exit_code=3)
        assert text == f"{address} is in use: give --bind another path"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(here / "socket"))


@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_error_at_import_is_one_traceback_of_user_code_and_exit_code_1(
    here: Path, workers: str
) -> None:
    code, lines = run_in(here, "broken:handle", "-w", workers, "--bind", free_address())
    text = "\n".join(lines)
    assert code == 1
    assert text.count("Traceback (most recent call last)") == 1
    assert text.count("broken.py") == text.count('broken.py", line') == 2
    assert "importlib" not in text
    assert "exited with code" not in text, "its traceback has told already"
    assert 'run_cluster.py", line' not in text
    assert lines[-1] == (
        "run_cluster.py: error: no worker of pool 'handle' could start: OSError: no model file"
    )


# --- what works -----------------------------------------------------------------------------------


def test_a_handler_is_found_in_the_current_directory(here: Path) -> None:
    with (
        Cluster("jobs:handle", "-w", "1", cwd=here) as cluster,
        plain_client(cluster.address) as client,
    ):
        assert client.ask(1)["body"] == ["handled", 1]


@pytest.mark.parametrize("theirs", ["workers", "balancer"])
def test_a_folder_that_is_called_like_ours_is_in_nobodys_way(here: Path, theirs: str) -> None:
    (here / theirs).mkdir()
    for name in ("__init__", "__main__", "handler", "wire"):
        (here / theirs / f"{name}.py").write_text("raise SystemExit('the wrong package')\n")
    (here / "mine.py").write_text(
        "import workers\n\ndef handle(request):\n    return workers.current().attempt\n"
    )
    with (
        Cluster("mine:handle", "-w", "1", cwd=here) as cluster,
        plain_client(cluster.address) as client,
    ):
        assert client.ask("which?")["body"] == 1


def test_the_demo_runs_from_another_directory(here: Path) -> None:
    with Cluster(cwd=here) as cluster, plain_client(cluster.address) as client:
        assert client.ask("bye")["body"] == "Goodbye! Have a great day."


def test_a_cluster_on_a_path_answers_there_and_leaves_nothing(here: Path) -> None:
    address = f"ipc://{here}/socket"
    with Cluster("jobs:handle", "-w", "1", cwd=here, bind=address) as cluster:
        assert (here / "socket").stat().st_mode & 0o077 == 0
        with plain_client(cluster.address) as client:
            assert client.ask(1)["body"] == ["handled", 1]
    assert not (here / "socket").exists()


def test_a_cluster_listens_on_ipv6_too(here: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        address = f"tcp://[::1]:{probe.getsockname()[1]}"
    with (
        Cluster("jobs:handle", "-w", "1", cwd=here, bind=address),
        zmq.Context() as context,
        context.socket(zmq.REQ) as client,
    ):
        client.ipv6 = True
        client.connect(address)
        client.send(msgpack.packb(1))
        assert msgpack.unpackb(client.recv())["body"] == ["handled", 1]


def test_what_print_config_prints_is_a_file_that_gives_the_same_again(here: Path) -> None:
    arguments = ("jobs:handle", "-w", "2", "--try-timeout", "1.5s", "--max-body", "2MiB")
    code, first = run_in(here, *arguments, "--print-config")
    (here / "cluster.toml").write_text("\n".join(first))
    assert (code, first) == run_in(here, "--config", "cluster.toml", "--print-config")
    assert "jobs:handle" in "\n".join(first)
