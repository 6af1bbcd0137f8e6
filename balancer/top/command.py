"""The word top: its arguments, and the terminals on which it has to refuse."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from balancer.arguments import PROGRAM, parse_question
from balancer.config import load_name
from balancer.kinds import duration
from balancer.sources import ConfigError

INTERVAL_MIN_S = 0.1
INTERVAL_S = 1.0
_PLAIN_TERMINALS = ("dumb", "unknown")


def top(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Show a running cluster until the person quits; returns the exit code."""
    flags = parse_question(argv, "top", _add_interval)
    interval_s = flags.pop("interval", INTERVAL_S)
    name = load_name(flags, environ)
    _refuse_without_terminal(environ)
    try:
        from balancer.top.view import run
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        raise ConfigError(
            f"{sys.executable} has no rich, which top draws with: .venv/bin/pip install -e '.[ui]'"
        ) from None
    return run(name, interval_s)


def _add_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        metavar="DURATION",
        type=_interval_s,
        help="how often the cluster is asked (default: 1s)",
    )


def _interval_s(text: str) -> float:
    try:
        interval_s: float = duration(INTERVAL_MIN_S).read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return interval_s


def _refuse_without_terminal(environ: Mapping[str, str]) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(f"top needs a terminal; elsewhere use: {PROGRAM} status")
    kind = environ.get("TERM", "")
    if kind in _PLAIN_TERMINALS:
        raise ConfigError(f"a terminal of the kind '{kind}' cannot show top; use: {PROGRAM} status")
