"""The command line of the client: requests as arguments, as lines of a pipe, or at a prompt."""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.client.answers import body_text, json_text, reply_details, reply_json
from balancer.client.blocking import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S, Client
from balancer.durations import format_duration_s, parse_duration_s
from balancer.printable import printable_block
from balancer.wire.reply import Reply

EXIT_FAILED = 1
EXIT_USAGE = 2
_YOU = "You: "
_BALANCER = "Load Balancer: "
_LEAVE = "exit"
SLOW_S = 2.0
"""After so long without an answer a person is told what is waited for."""


@dataclass(frozen=True)
class Style:
    is_json: bool
    is_verbose: bool

    def request(self, text: str) -> Any:
        """The payload that a person wrote; ValueError if it should be JSON and is not."""
        if not self.is_json:
            return text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{printable_block(text)} is not JSON: {error}") from error

    def answer(self, reply: Reply) -> str:
        """The answer, or the error where there is none."""
        if reply.status != 200:
            text = printable_block(reply.error or f"Error {reply.status}")
        else:
            text = json_text(reply.body) if self.is_json else body_text(reply.body)
        if not self.is_verbose:
            return text
        return reply_json(reply) if self.is_json else f"{text}\n{reply_details(reply)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 all answered, 1 some not, 2 bad arguments."""
    parser = _parser(os.environ)
    options = parser.parse_args(arguments)
    style = Style(options.json, options.verbose)
    _accept_any_text()
    try:
        for text in options.requests:
            style.request(text)
        client = Client(options.connect or _default_addresses(os.environ), timeout=options.timeout)
    except ValueError as error:
        parser.error(str(error))
    try:
        with client:
            return _run(client, style, options.requests)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our answers has seen enough. Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _run(client: Client, style: Style, requests: Sequence[str]) -> int:
    if requests:
        return _ask_all(client, style, requests)
    if sys.stdin.isatty():
        return _converse(client, style)
    return _ask_all(client, style, _lines(style))


def _lines(style: Style) -> Iterator[str]:
    for line in sys.stdin:
        # An empty line is no JSON, but is a request where requests are text.
        if line.strip() or not style.is_json:
            yield line.rstrip("\r\n")


def _ask_all(client: Client, style: Style, texts: Iterable[str]) -> int:
    """Answers to the standard output, errors to the standard error."""
    is_complete = True
    for text in texts:
        is_answered, answer = _ask(client, style, text)
        print(answer, file=sys.stdout if is_answered else sys.stderr, flush=True)
        is_complete &= is_answered
    return 0 if is_complete else EXIT_FAILED


def _converse(client: Client, style: Style) -> int:
    """The prompt. However it is left, it was left on purpose."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lets input() edit its line)
    try:
        while (text := input(_YOU).strip()) != _LEAVE:
            if text:
                print(_BALANCER + _ask(client, style, text)[1], flush=True)
    except (EOFError, KeyboardInterrupt):
        print()
    return 0


def _ask(client: Client, style: Style, text: str) -> tuple[bool, str]:
    """Whether there is an answer, and what to print."""
    try:
        with _excused():
            reply = client.send(style.request(text))
    except (ValueError, OverflowError, RecursionError) as error:
        return False, f"This request cannot be sent: {error}"
    return reply.status == 200, style.answer(reply)


@contextlib.contextmanager
def _excused() -> Iterator[None]:
    """Tell a person at a terminal that an answer takes long, and why that may be."""
    if not sys.stderr.isatty():
        yield
        return
    excuse = "Waiting: it is slow, or no cluster is running there. Ctrl-C leaves."
    timer = threading.Timer(SLOW_S, print, (excuse,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# --- arguments ----------------------------------------------------------------------------------


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m balancer.client",
        description="Send requests to a running cluster and print its answers.",
        epilog="Without a REQUEST, one request is read from each line of the standard input; "
        "on a terminal that is a prompt, which 'exit' leaves. "
        "Exit status: 0 all requests were answered, 1 some were not, 2 bad arguments.",
    )
    parser.add_argument("requests", metavar="REQUEST", nargs="*", help="a request to send")
    parser.add_argument(
        "--connect",
        metavar="ADDRESS",
        action="append",
        help="where the cluster listens; several are tried in turn "
        f"(default: $CLUSTER_BIND or {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--timeout",
        metavar="DURATION",
        type=_timeout_s,
        default=DEFAULT_TIMEOUT_S,
        help=f"time of each request (default: {format_duration_s(DEFAULT_TIMEOUT_S)})",
    )
    parser.add_argument("--json", action="store_true", help="requests and answers are JSON")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print who answered and who was tried"
    )
    return parser


def _timeout_s(text: str) -> float:
    try:
        timeout_s = parse_duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if timeout_s <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time to answer")
    return timeout_s


def _default_addresses(environ: Mapping[str, str]) -> list[str]:
    return [environ.get("CLUSTER_BIND") or DEFAULT_ADDRESS]


def _accept_any_text() -> None:
    """Neither a line that is not UTF-8 nor an answer that is no Unicode may end the program."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(errors="surrogateescape" if stream is sys.stdin else "backslashreplace")
