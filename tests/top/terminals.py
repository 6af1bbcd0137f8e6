"""top in a pseudo-terminal of a given size, with somebody who reads its screen and presses keys."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte

from tests.cluster.running import PROJECT, run_cluster_command, wait_until

UP, DOWN = b"\x1b[A", b"\x1b[B"


class Terminal:
    def __init__(
        self, columns: int, lines: int, *command: str, env: dict[str, str], cwd: Path = PROJECT
    ) -> None:
        self.ours, self.theirs = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        self._set_size(columns, lines)
        self.found = termios.tcgetattr(self.theirs)
        os.set_blocking(self.ours, False)
        environment = {key: text for key, text in os.environ.items() if key != "NO_COLOR"}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=cwd,
            env=environment | {"TERM": "xterm-256color"} | env,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        os.close(self.ours)
        os.close(self.theirs)

    def press(self, keys: bytes | str) -> None:
        os.write(self.ours, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, columns: int, lines: int) -> None:
        """As a window does: the kernel tells the program."""
        self.screen()
        self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def screen(self) -> str:
        """What is seen now."""
        try:
            while data := os.read(self.ours, 1 << 16):
                self.output += data
                self._stream.feed(data)
        except BlockingIOError:
            pass
        return "\n".join(line.rstrip() for line in self._screen.display)

    def wait_for(self, *texts: str) -> str:
        """Wait until all of these are on the screen, and return it."""

        def find() -> str:
            seen = self.screen()
            return seen if all(text in seen for text in texts) else ""

        try:
            return wait_until(find, 10.0)
        except AssertionError:
            raise AssertionError(f"{texts} not on the screen:\n{self.screen()}") from None

    def wait_until(self, condition: Callable[[str], object]) -> str:
        """Wait until the screen is as the condition wants it."""
        wait_until(lambda: condition(self.screen()), 10.0, "the screen is so")
        return self.screen()

    def wait_for_end(self) -> int:
        wait_until(lambda: self.screen() and self.process.poll() is not None, 10.0, "its end")
        self.screen()
        return self.process.wait(5)

    def is_as_found(self) -> bool:
        """Whether keys are echoed and lines waited for as before, and the screen is given back."""
        seen = self.output.rpartition(b"\x1b[?1049h")[2]
        given_back = all(code in seen for code in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?7h"))
        return given_back and termios.tcgetattr(self.theirs) == self.found

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, size)


@contextmanager
def top(
    name: str,
    *arguments: str,
    prefix: Sequence[str] = (),
    size: tuple[int, int] = (80, 24),
    env: dict[str, str] | None = None,
) -> Iterator[Terminal]:
    """``prefix`` is a command that runs it."""
    command = run_cluster_command("top", "--name", name, "--interval", "100ms", *arguments)
    terminal = Terminal(*size, *prefix, *command, env=env or {})
    try:
        yield terminal
    finally:
        terminal.close()
