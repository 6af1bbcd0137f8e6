"""The command line of the client, as real processes: arguments, pipes and a terminal."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import balancer
from balancer.core.events import FailedTry, Reason, Why
from tests.shell.fake_balancer import (
    PATIENCE_S,
    Answer,
    Asked,
    answered,
    balancing,
    echo,
    free_port,
    refused,
    silence,
)

ROOT = Path(balancer.__file__).parents[1]
COMMAND = [sys.executable, "-m", "balancer.client"]
ENVIRONMENT = {**os.environ, "TERM": "dumb"}


def run(*arguments: str, stdin: str = "", **variables: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin.encode("utf-8", "surrogateescape"),
        cwd=ROOT,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


def knowing(asked: Asked) -> Answer:
    if asked.payload == "unknown":
        return refused(Reason.EXHAUSTED)
    return echo(asked)


# --- requests as arguments ----------------------------------------------------------------------


def test_each_request_prints_its_answer() -> None:
    with balancing() as up:
        assert run("--connect", up.address, "hello") == (0, "hello\n", "")
        assert run("--connect", up.address, "a", "b") == (0, "a\nb\n", "")


def test_the_address_may_come_from_the_environment() -> None:
    with balancing() as up:
        assert run("hello", CLUSTER_BIND=up.address) == (0, "hello\n", "")
        nobody = f"tcp://127.0.0.1:{free_port()}"
        assert run("--connect", nobody, "--connect", up.address, "hello")[0] == 0


def test_an_error_goes_to_the_standard_error_and_into_the_exit_status() -> None:
    with balancing(knowing) as up:
        status, output, errors = run("--connect", up.address, "a", "unknown", "b")
    assert (status, output) == (1, "a\nb\n")
    assert errors == (
        "Error 503: Service Unavailable. No downstream server could process this frame.\n"
    )


def test_that_nobody_listens_is_said_with_the_address() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    status, output, errors = run("--connect", address, "--timeout", "200ms", "hello")
    assert (status, output) == (1, "")
    assert f"No balancer answers at {address}" in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--timeout", "soon", "a"], "is not a duration"),
        (["--timeout", "0", "a"], "no time"),
        (["--connect", "nowhere", "a"], "cannot connect to nowhere"),
        (["--json", "{"], "is not JSON"),
        (["--color"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_explained_with_status_2(arguments: list[str], complaint: str) -> None:
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert complaint in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("body", "plain", "as_json"),
    [
        ("ü", "ü", '"ü"'),
        ({"a": [1, None, True]}, '{"a": [1, null, true]}', '{"a":[1,null,true]}'),
        (b"\x00\xff", '"AP8="', '"AP8="'),
        ({1: {b"k": 2.5}, None: 0}, '{"1": {"aw==": 2.5}, "null": 0}', None),
        ("a\n\tb", "a\n\tb", '"a\\n\\tb"'),
        ("\x1b[31m\x07\x9b\x7f\r", "\\u001b[31m\\u0007\\u009b\\u007f\\u000d", None),
        ("\u202egnp", "\\u202egnp", '"\\u202egnp"'),
        (["\x9b"], '["\\u009b"]', '["\\u009b"]'),
    ],
)
def test_answers_are_text_that_no_terminal_obeys(
    body: Any, plain: str, as_json: str | None
) -> None:
    with balancing(lambda asked: answered(body)) as up:
        assert run("--connect", up.address, "1")[1] == plain + "\n"
        if as_json is not None:
            assert run("--connect", up.address, "--json", "1")[1] == as_json + "\n"


def test_json_requests_are_parsed() -> None:
    with balancing() as up:
        run("--connect", up.address, "--json", '{"a": [1, "x"]}', "null")
        assert [asked.payload for asked in up.asked] == [{"a": [1, "x"]}, None]
        status, output, errors = run("--connect", up.address, "--json", str(2**64), "1")
    assert (status, output) == (1, "1\n")
    assert "cannot be sent" in errors


def test_verbose_prints_the_whole_reply() -> None:
    tried = [FailedTry("server2-1", Why.DIED, 0.312)]
    with balancing(lambda asked: answered("hi", tried)) as up:
        plain = run("--connect", up.address, "-v", "hello")[1]
        as_json = run("--connect", up.address, "-v", "--json", "1")[1]
    assert plain.splitlines() == [
        "hi",
        "  [status 200, worker server1-1, attempts 2, tried server2-1: died (312.0 ms)]",
    ]
    assert as_json == (
        '{"status":200,"body":"hi","worker":"server1-1","attempts":2,'
        '"tried":[{"worker":"server2-1","why":"died","ms":312.0}]}\n'
    )


def test_ctrl_c_ends_a_waiting_request_quietly() -> None:
    with balancing(silence) as up:
        command = [*COMMAND, "--connect", up.address, "hello"]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
            up.wait_for(1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, b"")


# --- requests from a pipe -----------------------------------------------------------------------


def test_each_line_of_a_pipe_is_a_request() -> None:
    with balancing(knowing) as up:
        status, output, errors = run("--connect", up.address, stdin="a\n b \n\nexit\nunknown\nlast")
        assert (status, output) == (1, "a\n b \n\nexit\nlast\n")
        assert errors.startswith("Error 503")
        assert run("--connect", up.address, stdin="") == (0, "", "")
        assert run("--connect", up.address, "--json", stdin="1\n\n[2]\n") == (0, "1\n[2]\n", "")


def test_a_line_that_cannot_be_sent_does_not_end_the_others() -> None:
    with balancing() as up:
        status, output, errors = run("--connect", up.address, stdin="\udcff\nnext\n")
        assert (status, output) == (1, "next\n")
        status, output, errors = run("--connect", up.address, "--json", stdin="{\n2\n")
        assert (status, output) == (1, "2\n")
    assert "is not JSON" in errors


def test_a_reader_who_leaves_is_no_error() -> None:
    with balancing() as up:
        command = [*COMMAND, "--connect", up.address]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            process.stdin.write(b"first\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"first\n"
            process.stdout.close()
            process.stdin.write(b"second\nthird\n")
            process.stdin.close()
            assert process.stderr.read() == b""
        assert process.returncode == 1


# --- the prompt ---------------------------------------------------------------------------------


class Terminal:
    """What a person at the prompt types and sees."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def see(self, text: str) -> None:
        """Wait until it is on the screen, below what was seen before."""
        give_up_at = monotonic() + PATIENCE_S
        while text not in self._seen:
            readable, _, _ = select.select([self._descriptor], [], [], give_up_at - monotonic())
            assert readable, self._seen
            self._seen += os.read(self._descriptor, 4096).decode()
        self._seen = self._seen.partition(text)[2]

    def leave(self, keys: str) -> int:
        """Its exit status. The keys are pressed again where nothing happens: a signal that comes
        just before Python begins to read a line is noticed only when the next one comes."""
        for _ in range(20):
            self.type(keys)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(PATIENCE_S / 20)
        raise AssertionError(f"{keys!r} did not end it")


@contextlib.contextmanager
def prompt(*arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def _take_terminal() -> None:
    # So that the terminal turns Ctrl-C into a signal.
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_prompt_is_a_conversation() -> None:
    with balancing(knowing) as up, prompt("--connect", up.address) as terminal:
        terminal.see("You: ")
        terminal.type("hello\n")
        terminal.see("Load Balancer: hello")
        terminal.see("You: ")
        terminal.type("\n")
        terminal.see("You: ")
        terminal.type("unknown\n")
        terminal.see("Load Balancer: Error 503: Service Unavailable.")
        terminal.see("You: ")
        assert terminal.leave("exit\n") == 0
        assert [asked.payload for asked in up.asked] == ["hello", "unknown"]


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_leave_the_prompt_politely(key: str) -> None:
    with balancing() as up, prompt("--connect", up.address) as terminal:
        terminal.see("You: ")
        assert terminal.leave(key) == 0


def test_ctrl_c_leaves_the_prompt_while_it_waits_for_an_answer() -> None:
    with balancing(silence) as up, prompt("--connect", up.address) as terminal:
        terminal.see("You: ")
        terminal.type("hello\n")
        up.wait_for(1)
        assert terminal.leave("\x03") == 0


def test_a_person_is_told_when_an_answer_takes_long() -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with prompt("--connect", nobody) as terminal:
        terminal.see("You: ")
        terminal.type("hello\n")
        terminal.see("Waiting: it is slow, or no cluster is running there.")
        assert terminal.leave("\x03") == 0


def test_the_prompt_reads_json_and_explains_what_is_none() -> None:
    with balancing() as up, prompt("--connect", up.address, "--json") as terminal:
        terminal.see("You: ")
        terminal.type("{\n")
        terminal.see("Load Balancer: This request cannot be sent: { is not JSON")
        terminal.type('{"a": 1}\n')
        terminal.see('Load Balancer: {"a":1}')
