"""What may stand behind ``run_cluster.py bench``."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from balancer.arguments import parse_question
from balancer.bench.payload import default_payload, from_file_or_size, from_json
from balancer.bench.plan import CONCURRENCY_DEFAULT, Plan
from balancer.kinds import ADDRESS, COUNT, DURATION, duration
from balancer.sources import ConfigError

RATE_MAX_PER_S = 1_000_000.0
KILL_EVERY_MIN_S = 0.1
DURATION_DEFAULT_S = 10.0
TIMEOUT_DEFAULT_S = 5.0

T = TypeVar("T")


class Asked(NamedTuple):
    """``cluster`` holds the flags that name one."""

    cluster: dict[str, str]
    address: str | None
    plan: Plan
    as_json: bool


def parse_bench(argv: Sequence[str]) -> Asked:
    """ConfigError if the arguments make no sense, Done if they only ask to be explained."""
    flags = parse_question(argv, "bench", _add_options)
    for one, other in (("rate", "concurrency"), ("request", "payload")):
        if one in flags and other in flags:
            raise ConfigError(f"--{one} and --{other} exclude each other: leave one of them out")
    plan = Plan(
        payload=_payload(flags),
        duration_s=_value(flags, "duration", DURATION.read, DURATION_DEFAULT_S),
        timeout_s=_value(flags, "timeout", DURATION.read, TIMEOUT_DEFAULT_S),
        concurrency=_value(flags, "concurrency", COUNT.read, CONCURRENCY_DEFAULT),
        rate_per_s=_value(flags, "rate", _read_rate, None),
        kill_every_s=_value(flags, "kill_every", duration(KILL_EVERY_MIN_S).read, None),
    )
    cluster: dict[str, str] = {name: flags[name] for name in ("name", "config") if name in flags}
    return Asked(cluster, _value(flags, "connect", ADDRESS.read, None), plan, "json" in flags)


def _add_options(parser: argparse.ArgumentParser) -> None:
    load = parser.add_argument_group("load")
    load.add_argument(
        "--concurrency",
        metavar="N",
        help=f"keep so many requests open (default: {CONCURRENCY_DEFAULT})",
    )
    load.add_argument(
        "--rate",
        metavar="R",
        help="or send so many a second, whatever comes back; "
        "latencies count from when each was due",
    )
    load.add_argument("--duration", metavar="DURATION", help="how long (default: 10s)")
    load.add_argument("--timeout", metavar="DURATION", help="time of each request (default: 5s)")
    load.add_argument(
        "--request", metavar="JSON", help='the value to send, as 0.005 (default: "hello")'
    )
    load.add_argument(
        "--payload",
        metavar="SIZE|FILE",
        help="or so many bytes, as 10KiB; or what is in a file: of a .json its value, "
        "of any other its bytes",
    )
    load.add_argument(
        "--kill-every",
        metavar="DURATION",
        help="kill -9 one worker after another meanwhile, so often",
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--connect", metavar="ADDRESS", help="load whatever listens there (default: the cluster's)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _payload(flags: Mapping[str, Any]) -> bytes:
    if "payload" in flags:
        return _value(flags, "payload", from_file_or_size, b"")
    if "request" in flags:
        return _value(flags, "request", from_json, b"")
    return default_payload()


def _value(flags: Mapping[str, Any], name: str, read: Callable[[str], T], default: T) -> T:
    if name not in flags:
        return default
    try:
        return read(flags[name])
    except ValueError as error:
        raise ConfigError(f"--{name.replace('_', '-')}: {error}") from error


def _read_rate(text: str) -> float:
    try:
        rate_per_s = float(text)
    except ValueError:
        rate_per_s = math.nan
    if not 0 < rate_per_s <= RATE_MAX_PER_S:
        raise ValueError(
            f"{text!r} is not a rate; write requests per second, like 100 or 0.5, "
            f"at most {RATE_MAX_PER_S:.0f}"
        )
    return rate_per_s
