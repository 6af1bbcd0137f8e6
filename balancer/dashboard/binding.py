"""Where the dashboard listens, on loopback only, and by which names it is known there."""

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple

BACKLOG = 1024


class CannotBind(Exception):
    """The address is not to be had; the text says what to do about it."""


class Address(NamedTuple):
    host: str
    port: int

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``localhost:8080``."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})", text)
    if found is None or int(found[3]) > 65535:
        raise CannotBind(f"{text!r} is no address for the dashboard: write 127.0.0.1:8080")
    host = found[1] or found[2]
    if host == "localhost":
        host = "127.0.0.1"
    if not _is_loopback(host):
        raise CannotBind(
            f"the dashboard cannot listen on {text}, loopback only: write 127.0.0.1:{found[3]}, "
            "and put a TLS proxy before it to let others in"
        )
    return Address(host, int(found[3]))


def listen(address: Address) -> socket.socket:
    """A socket that is connected to by now, though nobody accepts yet."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotBind(
            f"the dashboard cannot listen on {address.origin}: {_advice(error)}"
        ) from None
    return listener


def known_hosts(address: Address, others: Sequence[str]) -> frozenset[str]:
    """The names that a request may have in ``Host``; ``others`` are those of a proxy before us,
    with their port or without."""
    names = {"localhost", "127.0.0.1", "[::1]", address.origin.rpartition(":")[0]}
    ours = {f"{name}:{address.port}" for name in names}
    if address.port == 80:
        ours |= names
    return frozenset(host.lower() for host in (*ours, *others))


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "somebody else does; stop them, or give it another port with --dashboard"
    if error.errno == errno.EACCES:
        return "ports below 1024 are root's; give it a higher one with --dashboard"
    return f"{error.strerror}; give it another address with --dashboard"
