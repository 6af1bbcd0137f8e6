"""The log: one writer, never waited for, harmless for terminals, the same lines for machines."""

import fcntl
import json
import os
import pty
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from workers.console import LINE_CHARACTERS_MAX, LINES_MAX, Console, as_json, shortened

PIPE_BYTES = 1 << 16
Start = Callable[..., Console]


class Terminal:
    """Stands where stderr was; a test reads it when it likes."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.read_end, False)
        self._text = b""

    def read(self) -> str:
        try:
            while data := os.read(self.read_end, 1 << 20):
                self._text += data
        except BlockingIOError:
            pass
        return self._text.decode()

    def wait_until(self, condition: Callable[[str], object]) -> str:
        deadline = time.monotonic() + 10.0
        while not condition(self.read()):
            assert time.monotonic() < deadline, self.read()[-1000:]
            time.sleep(0.005)
        return self.read()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    os.close(terminal.write_end)
    os.close(terminal.read_end)


@pytest.fixture
def start(terminal: Terminal) -> Iterator[Start]:
    """Starts consoles that write to the terminal."""
    consoles = []

    def start(log_format: str = "text") -> Console:
        consoles.append(console := Console(log_format, terminal.write_end))
        return console

    yield start
    for console in consoles:
        terminal.read()
        console.close(timeout_s=5.0)


@pytest.fixture
def console(start: Start) -> Console:
    console = start()
    console.release()
    return console


def test_a_line_has_its_time_and_its_source(terminal: Terminal, console: Console) -> None:
    console.write("resize-1", "ready after 12 ms")
    text = terminal.wait_until(lambda text: text.endswith("\n"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} resize-1    ready after 12 ms\n", text)


def test_lines_come_in_order_and_several_in_one_text_are_several(
    terminal: Terminal, console: Console
) -> None:
    console.write("a", "one\ntwo")
    console.write("b", "")
    console.write("c", "three")
    text = terminal.wait_until(lambda text: "three" in text)
    assert [line.split()[1:] for line in text.splitlines()] == [
        ["a", "one"],
        ["a", "two"],
        ["b"],
        ["c", "three"],
    ]


def test_nothing_is_written_before_it_is_released(terminal: Terminal, start: Start) -> None:
    console = start()
    console.write("a", "held")
    console.close(timeout_s=1.0)
    assert terminal.read() == ""
    console = start()
    console.write("a", "held")
    console.release()
    console.close(timeout_s=1.0)
    assert "held" in terminal.read()


def test_closing_writes_what_is_left(terminal: Terminal, console: Console) -> None:
    for number in range(500):
        console.write("a", str(number))
    console.close(timeout_s=5.0)
    assert len(terminal.read().splitlines()) == 500


def test_nobody_waits_for_a_log_that_nobody_reads(terminal: Terminal, console: Console) -> None:
    line = "x" * 100
    started_at = time.monotonic()
    for _ in range(2 * LINES_MAX):
        console.write("a", line)
    assert time.monotonic() - started_at < 5.0
    terminal.wait_until(lambda text: len(text) >= LINES_MAX * len(line))
    console.write("a", "afterwards")
    text = terminal.wait_until(lambda text: "afterwards" in text)
    dropped = re.search(r"cluster     (\d+) lines dropped: nobody reads this log\n", text)
    assert dropped is not None
    assert text.count(line) + int(dropped[1]) == 2 * LINES_MAX
    assert text.index("lines dropped") < text.index("afterwards")


def test_closing_does_not_wait_for_a_reader_for_ever(terminal: Terminal, console: Console) -> None:
    for _ in range(3000):
        console.write("a", "x" * 100)
    started_at = time.monotonic()
    console.close(timeout_s=0.2)
    assert time.monotonic() - started_at < 2.0
    terminal.wait_until(lambda text: text.count("\n") == 3000)


def test_a_reader_that_has_left_is_no_trouble(terminal: Terminal, console: Console) -> None:
    os.close(terminal.read_end)
    for _ in range(100):
        console.write("a", "x")
    console.close(timeout_s=1.0)
    terminal.read_end = os.open(os.devnull, os.O_RDONLY)


def test_json_is_one_object_on_a_line(terminal: Terminal, start: Start) -> None:
    console = start("json")
    console.release()
    console.write("balancer", "two\nlines \x1b[31m\u2028", "warning", request="r1", ms=1.5)
    console.close(timeout_s=1.0)
    (line,) = terminal.read().split("\n")[:-1]
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "warning",
        "source": "balancer",
        "text": "two\nlines \x1b[31m\u2028",
        "request": "r1",
        "ms": 1.5,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is", "as it is"),
        ("Grüße \N{GRINNING FACE}\tand a tab", "Grüße \N{GRINNING FACE}\tand a tab"),
        ("\x1b[2J\x1b]0;title\x07", r"\u001b[2J\u001b]0;title\u0007"),
        ("a\r\x00\x7f\x9b", r"a\u000d\u0000\u007f\u009b"),
        ("\u202eright to left", r"\u202eright to left"),
        ("x" * (LINE_CHARACTERS_MAX + 1), "x" * LINE_CHARACTERS_MAX + "…"),
    ],
)
def test_a_line_from_a_peer_is_harmless(text: str, shown: str) -> None:
    assert shortened(text) == shown


def test_what_utf8_cannot_carry_does_not_stop_the_log(terminal: Terminal, console: Console) -> None:
    console.write("\ud800", "after all")
    assert "after all" in terminal.wait_until(lambda text: "after all" in text)
    assert json.loads(as_json("a", "\ud800", "info", {}))["text"] == "\ud800"


@pytest.mark.parametrize(
    ("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_trouble_has_a_colour_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], is_coloured: bool
) -> None:
    for name, text in ({"TERM": "xterm", "NO_COLOR": ""} | environ).items():
        monkeypatch.setenv(name, text)
    ours, theirs = pty.openpty()
    console = Console("text", theirs)
    console.write("a-1", "all is well")
    console.write("a-1", "not good \x1b[2J", "warning")
    console.write("a-1", "bad", "error")
    console.release()
    console.close(timeout_s=5.0)
    well, warning, error = os.read(ours, 4096).decode().splitlines()
    os.close(ours)
    os.close(theirs)
    assert "\x1b" not in well
    assert "\x1b[2J" not in warning
    assert warning.startswith("\x1b[33m") is is_coloured
    assert (error.startswith("\x1b[31m"), error.endswith("\x1b[0m")) == (is_coloured, is_coloured)


def test_what_is_written_to_a_file_or_pipe_has_no_colour(
    start: Start, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = start()
    console.write("a-1", "bad", "error")
    console.release()
    assert "\x1b" not in terminal.wait_until(lambda text: "bad" in text)
