"""What a worker process says to its launcher: lines of JSON, none of them trusted."""

import json
import socket
from collections.abc import Iterator

REPORT_BYTES_MAX = 1 << 18
"""Many times the longest traceback that a worker reports."""

Report = dict[str, str]


class Reports:
    """Makes reports of what arrives on the worker's socket."""

    def __init__(self) -> None:
        self._partial = b""

    def receive(self, connection: socket.socket) -> tuple[list[Report | None], bool]:
        """A helping from its socket, which must not block; and whether that was the end."""
        try:
            data = connection.recv(REPORT_BYTES_MAX)
        except BlockingIOError:
            return [], False
        except ConnectionResetError:
            data = b""  # as good as closed
        return list(self.take(data)), not data

    def take(self, data: bytes) -> Iterator[Report | None]:
        """The reports that are complete by now; None for what is none, as user code writes it
        that got hold of a descriptor which is not its own."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            yield _parse(line)
        if len(self._partial) > REPORT_BYTES_MAX:
            self._partial = b""
            yield None


def _parse(line: bytes) -> Report | None:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict) or not all(isinstance(text, str) for text in report.values()):
        return None
    match report:
        case {"event": "ready"} | {"event": "worn", "why": _} | {"event": _, "error": _}:
            return report
    return None
