"""The kinds of values that options have: how each is written by people, read and shown."""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from balancer.durations import (
    format_duration_s,
    format_size_bytes,
    parse_duration_s,
    parse_size_bytes,
)

WORKERS_MAX = 4096
BATCH_MAX = 1024
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
    if not _is_loopback(host):
        raise ValueError(
            f"refused: {text!r} would open the cluster to the network without encryption; "
            "bind to 127.0.0.1 or ipc"
        )


def _is_loopback(host: str) -> bool:
    octet = r"(?:0|[1-9][0-9]{0,2})"
    is_in_127 = re.fullmatch(rf"127(?:\.{octet}){{3}}", host) and all(
        int(part) <= 255 for part in host.split(".")
    )
    return is_in_127 or host in ("localhost", "[::1]")


def _check_port(text: str, port: str) -> None:
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} needs a port from 1 to 65535, like tcp://127.0.0.1:5555")


def read_web_address(text: str) -> str:
    """HOST:PORT that only this machine can reach."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not an address; write it like 127.0.0.1:8080")
    if not _is_loopback(host):
        raise ValueError(
            f"refused: the page is for this machine only; write 127.0.0.1:{port}, and put a proxy "
            "with TLS and passwords before it to let others in"
        )
    return text


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


def duration(minimum_s: float = DURATION_MIN_S) -> Kind:
    def read(text: str) -> float:
        duration_s = parse_duration_s(text)
        if not minimum_s <= duration_s <= DURATION_MAX_S:
            least = format_duration_s(minimum_s)
            raise ValueError(f"{text!r} is out of range; write a duration from {least} to 168h")
        return duration_s

    return Kind("DURATION", read, format_duration_s)


def or_off(some: Kind) -> Kind:
    """The same values, and ``off`` for None."""

    def read(text: str) -> Any:
        return None if text == "off" else some.read(text)

    def write(value: Any) -> str:
        return "off" if value is None else some.write(value)

    return Kind(some.metavar, read, write)


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


def choice(values: dict[str, Any]) -> Kind:
    def read(text: str) -> Any:
        if text not in values:
            raise ValueError(f"{text!r} is not a choice; write {' or '.join(values)}")
        return values[text]

    def write(value: Any) -> str:
        return next(text for text, known in values.items() if known == value)

    return Kind("|".join(values), read, write)


_SWITCH_TEXTS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def _switch() -> Kind:
    texts = choice(_SWITCH_TEXTS | {"on": True, "off": False})
    return Kind("", texts.read, texts.write, is_bare=True)


NAME = Kind("NAME", read_name, str)
ADDRESS = Kind("ADDRESS", read_address, str)
WEB_ADDRESS = Kind("HOST:PORT", read_web_address, str)
DURATION = duration()
DURATION_OR_ZERO = duration(minimum_s=0)
HANDLER = Kind("HANDLER", read_handler, str)
SHARE = Kind("SHARE", _read_share, _write_share)
SIZE = Kind("SIZE", _read_size, format_size_bytes)
COUNT = _count()
BATCH = _count(BATCH_MAX)
WORKERS = _count(WORKERS_MAX)
SWITCH = _switch()
FILE = Kind("FILE", str, str)
