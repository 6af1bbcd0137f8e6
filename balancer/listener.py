"""The address at which clients find us: bound, and one connection after another accepted."""

import os
import socket
from contextlib import suppress
from errno import (
    ECONNABORTED,
    ECONNRESET,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
    ETIMEDOUT,
)
from pathlib import Path

_BACKLOG = 1024
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""The kernel finds out by itself, within half a minute, whose machine has vanished (tcp(7)). No
TCP_USER_TIMEOUT: it would end a client, too, that is only slow to read its answer."""
_NOTHING_LEFT = {EMFILE, ENFILE, ENOBUFS, ENOMEM}
_ENDED_ALREADY = {
    *(ECONNABORTED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH),
    *(ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO, ETIMEDOUT),
}
"""Errors of the connection, not of ours: "treat them like EAGAIN" (accept(2))."""


class CannotBind(Exception):
    """The address is not to be had; the text says why and what to do."""


class NoDescriptors(Exception):
    """There are none left for now."""


class Listener:
    """Never waits."""

    def __init__(self, address: str) -> None:
        """CannotBind if the address is taken or unusable."""
        self._path = ""
        scheme, _, place = address.partition("://")
        try:
            self._socket = self._bind_ipc(place) if scheme == "ipc" else _bind_tcp(place)
        except OSError as error:
            raise CannotBind(
                f"cannot bind {address}: {error.strerror or error}; stop what uses it, "
                "or give --bind another address"
            ) from error
        self._socket.setblocking(False)

    def _bind_ipc(self, path: str) -> socket.socket:
        if _is_taken(path):
            raise CannotBind(f"ipc://{path} is in use: give --bind another path")
        listener = socket.socket(socket.AF_UNIX)
        is_abstract = path.startswith("@")
        before = os.umask(0o177)
        try:
            if not is_abstract:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            listener.bind("\0" + path[1:] if is_abstract else path)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._path = "" if is_abstract else path
        return listener

    @property
    def address(self) -> str:
        """Where it is bound, a wildcard port resolved."""
        if self._socket.family == socket.AF_UNIX:
            name = os.fsdecode(self._socket.getsockname())
            return f"ipc://@{name[1:]}" if name.startswith("\0") else f"ipc://{name}"
        host, port, *_ = self._socket.getsockname()
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """The next connection, if somebody has come. NoDescriptors if there is none left for it:
        do not ask again at once."""
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            if error.errno in _NOTHING_LEFT:
                raise NoDescriptors from error
            if not isinstance(error, BlockingIOError) and error.errno not in _ENDED_ALREADY:
                raise
            return None
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            # Of a connection that was reset already, macOS knows no options: reading tells of it.
            with suppress(OSError):
                _set_options(connection)
        return connection

    def close(self) -> None:
        self._socket.close()
        if self._path:
            Path(self._path).unlink(missing_ok=True)


def _set_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _bind_tcp(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    is_ipv6 = host.startswith("[")
    listener = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), 0 if port == "*" else int(port)))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_taken(path: str) -> bool:
    """Whether somebody listens there, or it is something else than a socket."""
    is_abstract = path.startswith("@")
    if not is_abstract and os.path.lexists(path) and not Path(path).is_socket():
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect("\0" + path[1:] if is_abstract else path)
        except BlockingIOError:
            return True  # and more wait there than it has accepted
        except OSError:
            return False
        return True
