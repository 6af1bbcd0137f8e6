"""A real dashboard process for a test, started as the launcher does, and plain HTTP to ask it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.running import PROJECT

START_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """Use it as a context manager; we are its launcher."""

    def __init__(
        self, cluster: str, token: str | None = None, address: str = "127.0.0.1:0", **more: Any
    ) -> None:
        self._configuration = {
            "op": "configure",
            "name": cluster,
            "address": address,
            "token": token,
            "hosts": [],
            **more,
        }

    def __enter__(self) -> "Dashboard":
        self.start()
        assert self.told["op"] == "bound", self.told
        self.url = self.told["url"]
        self.host = self.url.removeprefix("http://").rstrip("/")
        self.port = int(self.host.rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *path: str) -> None:
        """``path`` holds modules that are found before those that are installed."""
        self.connection, theirs = socket.socketpair()
        fd = theirs.fileno()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "balancer.dashboard"),
                *("--launcher-fd", str(fd), "--launcher-pid", str(os.getpid())),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *path])},
            pass_fds=(fd,),
            start_new_session=True,
        )
        theirs.close()
        self.connection.settimeout(START_TIMEOUT_S)
        self.connection.sendall(json.dumps(self._configuration).encode() + b"\n")
        with self.connection.makefile("rb") as lines:
            self.told = json.loads(lines.readline())

    def close(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait(5)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: str = ""
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body or None, {"Host": self.host, **(headers or {})})
            response = connection.getresponse()
            head = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, head, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """Headers are named with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("GET", path, given)

    def act(self, action: str, body: Any, token: str, **headers: str) -> Answer:
        """As the page does; a header that is given replaces its own."""
        page = {
            "Origin": self.url.rstrip("/"),
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {token}",
        }
        given = {name.replace("_", "-").title(): value for name, value in headers.items()}
        text = body if isinstance(body, str) else json.dumps(body)
        merged = {name: value for name, value in {**page, **given}.items() if value}
        return self.request("POST", f"/admin/{action}", merged, text)


class Reader:
    """Somebody who follows ``/stream``."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._connection = dashboard.connect()
        self._connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {dashboard.host}\r\n\r\n".encode())
        self._lines = self._connection.makefile("rb")
        self.status = int(self._lines.readline().split()[1])
        self._name = ""

    def next(self) -> tuple[str, Any]:
        """The next message: its name and its data."""
        for line in self._lines:
            if line.startswith(b"event: "):
                self._name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return self._name, json.loads(line[6:])
        raise EOFError

    def wait_for(self, name: str, timeout_s: float = 5.0, **fields: Any) -> Any:
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            found, data = self.next()
            if found == name and fields.items() <= data.items():
                return data
        raise AssertionError(f"no {name} with {fields}")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._connection.close()
