"""The one table of options: flags, environment, TOML file and help text all follow it."""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from balancer.core.limits import Limits
from balancer.durations import (
    format_duration_s,
    format_size_bytes,
    parse_duration_s,
    parse_size_bytes,
)

WORKERS_MAX = 4096
DURATION_MIN_S = 0.001
# epoll takes milliseconds as a C int, so a wait of 25 days would not fit.
DURATION_MAX_S = 7 * 24 * 3600.0
COUNT_MAX = 1_000_000
SIZE_MAX_BYTES = 1 << 40
IPC_PATH_BYTES_MAX = 107


# Tuples, as a dataclass takes a millisecond to make and every start of the program would wait.
class Kind(NamedTuple):
    """One way to write a value. ``read`` raises ValueError with a text that says the fix."""

    metavar: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    """Gives back what ``read`` understands as the same value."""
    is_bare: bool = False
    """Stands in TOML without quotes."""


class Option(NamedTuple):
    """``field`` is where the value lives in ``Config`` or its ``Limits``, if it does."""

    name: str
    kind: Kind
    group: str
    help: str
    field: str = ""
    default: Any = None
    default_text: str = ""
    """For people, where the default is not simply a value."""
    short_flag: str = ""
    in_file: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "CLUSTER_" + self.name.upper()

    @property
    def shown_default(self) -> str:
        return self.default_text or self.kind.write(self.default)


# --- kinds of values --------------------------------------------------------------------------


def read_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
        raise ValueError(f"{text!r} is not a name; write 1 to 32 of the characters A-Z a-z 0-9 _ -")
    return text


def read_address(text: str) -> str:
    """An address that only this machine can reach; anything else would be unencrypted."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("tcp", "ipc") or not text.isprintable():
        raise ValueError(
            f"{text!r} is not an address; write tcp://127.0.0.1:5555 or ipc:///path/to/socket"
        )
    if scheme == "ipc":
        _check_ipc_path(text, rest)
    else:
        host, _, port = rest.rpartition(":")
        _check_is_loopback(text, host or rest)
        _check_port(text, port)
    return text


def _check_ipc_path(text: str, path: str) -> None:
    size_bytes = len(os.fsencode(path))
    if path in ("", "*", "@") or path.endswith("/"):
        raise ValueError(f"{text!r} names no socket; write ipc:///path/to/socket")
    if size_bytes > IPC_PATH_BYTES_MAX:
        raise ValueError(
            f"the ipc path is {size_bytes} bytes long; the system's limit is "
            f"{IPC_PATH_BYTES_MAX}, choose a shorter path"
        )


def _check_is_loopback(text: str, host: str) -> None:
    octet = r"(?:0|[1-9][0-9]{0,2})"
    is_in_127 = re.fullmatch(rf"127(?:\.{octet}){{3}}", host) and all(
        int(part) <= 255 for part in host.split(".")
    )
    if not is_in_127 and host not in ("localhost", "[::1]"):
        raise ValueError(
            f"refused: {text!r} would open the cluster to the network without encryption; "
            "bind to 127.0.0.1 or ipc"
        )


def _check_port(text: str, port: str) -> None:
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} needs a port from 1 to 65535, like tcp://127.0.0.1:5555")


def read_handler(text: str) -> str:
    module, colon, attribute = text.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    if colon and all(part.isidentifier() for part in parts):
        return text
    example = "workers.demo:server1"
    if colon and ("/" in module or module.endswith(".py")):
        dotted = module.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
        example = f"{dotted}:{attribute}"
    raise ValueError(f"{text!r} is not a handler; write module:attribute, for example {example!r}")


def _duration(minimum_s: float = DURATION_MIN_S) -> Kind:
    def read(text: str) -> float:
        duration_s = parse_duration_s(text)
        if not minimum_s <= duration_s <= DURATION_MAX_S:
            least = format_duration_s(minimum_s)
            raise ValueError(f"{text!r} is out of range; write a duration from {least} to 168h")
        return duration_s

    return Kind("DURATION", read, format_duration_s)


def _duration_or_off() -> Kind:
    duration = _duration()

    def read(text: str) -> float | None:
        return None if text == "off" else duration.read(text)

    def write(value: float | None) -> str:
        return "off" if value is None else duration.write(value)

    return Kind("DURATION", read, write)


def _count(maximum: int = COUNT_MAX) -> Kind:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= maximum:
            raise ValueError(f"{text!r} is out of range; write a whole number from 1 to {maximum}")
        return int(text)

    return Kind("N", read, str, is_bare=True)


def _read_size(text: str) -> int:
    size_bytes = parse_size_bytes(text)
    if not 1 <= size_bytes <= SIZE_MAX_BYTES:
        raise ValueError(f"{text!r} is out of range; write a size from 1 to 1024GiB")
    return size_bytes


def _read_share(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,25})?)( ?%)?", text.strip())
    # Not a division by 100: the decimal text itself must give the nearest float.
    share = float(f"{match[1]}e{-2 if match[2] else 0}") if match else -1.0
    if not match or share > (10 if match[2] else 1):
        raise ValueError(f"{text!r} is not a share; write it like 20% or 0.2")
    return share


def _write_share(share: float) -> str:
    return f"{share * 100:.15g}%"


def _choice(values: dict[str, Any]) -> Kind:
    def read(text: str) -> Any:
        if text not in values:
            raise ValueError(f"{text!r} is not a choice; write {' or '.join(values)}")
        return values[text]

    def write(value: Any) -> str:
        return next(text for text, known in values.items() if known == value)

    return Kind("|".join(values), read, write)


_SWITCH_TEXTS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def _switch() -> Kind:
    choice = _choice(_SWITCH_TEXTS | {"on": True, "off": False})
    return Kind("", choice.read, choice.write, is_bare=True)


NAME = Kind("NAME", read_name, str)
ADDRESS = Kind("ADDRESS", read_address, str)
DURATION = _duration()
DURATION_OR_ZERO = _duration(minimum_s=0)
HANDLER = Kind("HANDLER", read_handler, str)
SIZE = Kind("SIZE", _read_size, format_size_bytes)
COUNT = _count()
WORKERS = _count(WORKERS_MAX)
SWITCH = _switch()
FILE = Kind("FILE", str, str)

# --- the table --------------------------------------------------------------------------------

_LIMITS = Limits()
CLUSTER, TIME, FAILOVER, BOUNDS = "cluster", "time", "failover", "limits"


def _limit(name: str, kind: Kind, group: str, field: str, help: str, shown: str = "") -> Option:
    """An option whose field and default are those of ``Limits``."""
    return Option(
        name=name,
        kind=kind,
        group=group,
        help=help,
        field=field,
        default=getattr(_LIMITS, field),
        default_text=shown,
    )


OPTIONS: tuple[Option, ...] = (
    Option(
        name="config",
        kind=FILE,
        group=CLUSTER,
        help="read options and pools from this TOML file",
        default_text="none",
        in_file=False,
    ),
    Option(
        name="name",
        kind=NAME,
        group=CLUSTER,
        help="what status and stop call this cluster; one machine may run several",
        field="name",
        default="default",
    ),
    Option(
        name="bind",
        kind=ADDRESS,
        group=CLUSTER,
        help="where clients connect: tcp on loopback, or ipc",
        field="bind",
        default="tcp://127.0.0.1:5555",
    ),
    Option(
        name="workers",
        kind=WORKERS,
        group=CLUSTER,
        help="worker processes of each pool",
        default_text="usable CPUs for one handler; 1 each for several, and for the demo",
        short_flag="-w",
    ),
    Option(
        name="restart",
        kind=SWITCH,
        group=CLUSTER,
        help="start a new worker in place of one that died",
        field="restart",
        default=True,
    ),
    Option(
        name="log_format",
        kind=_choice({"text": "text", "json": "json"}),
        group=CLUSTER,
        help="log lines for people or for machines",
        field="log_format",
        default="text",
    ),
    Option(
        name="startup_timeout",
        kind=DURATION,
        group=TIME,
        help="how long a worker may take to import its handler and become ready",
        field="startup_timeout_s",
        default=120.0,
    ),
    Option(
        name="drain_timeout",
        kind=DURATION_OR_ZERO,
        group=TIME,
        help="how long open requests may still run when the cluster stops",
        field="drain_timeout_s",
        default=25.0,
    ),
    _limit(
        "deadline", DURATION, TIME, "deadline_s", "total time of a request, from arrival to answer"
    ),
    _limit(
        "deadline_max",
        DURATION,
        TIME,
        "deadline_max_s",
        "the longest deadline that a client may ask for",
    ),
    _limit(
        "try_timeout",
        DURATION,
        TIME,
        "try_timeout_s",
        "how long one worker may take before the request moves to the next",
        "10s, or a third of a deadline of 10s or less",
    ),
    _limit(
        "queue_timeout",
        _duration_or_off(),
        TIME,
        "queue_timeout_s",
        "the longest wait for a first worker; off leaves it to the deadline",
    ),
    _limit(
        "hang_kill_after",
        DURATION,
        FAILOVER,
        "hang_kill_after_s",
        "how long past its timeout a worker may hold a request before it is killed",
        "a fifth of try_timeout",
    ),
    _limit(
        "revive_grace",
        DURATION_OR_ZERO,
        FAILOVER,
        "revive_grace_s",
        "how long a request with nobody left to ask waits for a worker to come back",
    ),
    _limit(
        "strikes",
        COUNT,
        FAILOVER,
        "strikes",
        "workers that one request may kill or hang before it is stopped",
    ),
    _limit(
        "retry_budget",
        Kind("SHARE", _read_share, _write_share),
        FAILOVER,
        "retry_budget",
        "tries after a death or a timeout, as a share of first tries",
    ),
    _limit(
        "on_empty",
        _choice({"next_worker": False, "next_pool": True}),
        FAILOVER,
        "on_empty_next_pool",
        "who is asked after an empty reply: any other worker, or only other pools",
    ),
    _limit("queue_limit", COUNT, BOUNDS, "queue_limit", "requests that may wait for a worker"),
    _limit(
        "queue_limit_bytes", SIZE, BOUNDS, "queue_limit_bytes", "total size of waiting requests"
    ),
    _limit(
        "client_limit",
        COUNT,
        BOUNDS,
        "client_limit",
        "requests that one client may have open at once",
    ),
    _limit("max_body", SIZE, BOUNDS, "max_body_bytes", "largest request or reply"),
)
