"""The dashboard as the launcher sees it: a process that is brought back, and that nobody needs."""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from balancer.control import Channel, Message
from workers.loop import Timer
from workers.process import Process
from workers.restart import DELAY_MAX_S, RestartPolicy
from workers.surroundings import Surroundings

TOKEN_FILE = "dashboard.token"


@dataclass(slots=True)
class Page:
    """What the dashboard must know to serve one."""

    address: str
    token: str | None
    """Whoever knows it may steer the cluster; None if nobody may."""


class DashboardProcess:
    """Whatever becomes of it, requests are served. Only an address that is not to be had at the
    start is worth the end of the cluster: ``fail`` gets that trouble."""

    def __init__(self, around: Surroundings, fail: Callable[[str], None]) -> None:
        config = around.config
        self.restarts = 0
        self._around = around
        self._fail = fail
        self._page: Page | None = None
        if config.dashboard is not None:
            token = secrets.token_urlsafe(24) if config.dashboard_admin else None
            self._page = Page(config.dashboard, token)
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._policy = RestartPolicy()
        self._bound_at: float | None = None
        self._was_ever_bound = False
        self._is_wanted = self._page is not None
        self._timer: Timer | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """If there is to be one."""
        if self._page is None or not self._is_wanted:
            return
        self._bound_at = None
        try:
            self._process = Process(
                "balancer.dashboard", [], self._around.loop.selector, self._on_output
            )
        except OSError as error:
            self._start_later(f"no process for it ({error.strerror})")
            return
        self._channel = Channel(
            self._process.connection, self._around.loop.selector, self._receive, lambda: None
        )
        self._channel.send(
            {
                "op": "configure",
                "name": self._around.config.name,
                "address": self._page.address,
                "token": self._page.token,
                "hosts": [],
            }
        )

    def stop(self) -> None:
        """End it: there is nothing more to show."""
        self._is_wanted = False
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            self._process.kill_group()

    def reap(self) -> None:
        """Look whether it has ended; then another one is started."""
        process = self._process
        if process is None or not process.reap():
            return
        if self._channel is not None:
            self._channel.read_rest()
        self._process = self._channel = None
        if self._is_wanted:
            self._start_later(str(process.exit_cause))

    def _start_later(self, trouble: str) -> None:
        now = time.monotonic()
        delay_s = self._policy.delay_s(
            now,
            ready_for_s=None if self._bound_at is None else now - self._bound_at,
            held_request=False,
            jitter=random.uniform(-1, 1),
        )
        delay_s = DELAY_MAX_S if delay_s is None else delay_s
        self.restarts += 1
        when = f"in {delay_s:.1f} s" if delay_s else "at once"
        self._log(f"{trouble}; restarting {when}, the cluster goes on", "warning")
        self._timer = self._around.loop.after(delay_s, self.start)

    def _receive(self, message: Message) -> None:
        match message:
            case {"op": "bound", "url": url}:
                self._bound_at = time.monotonic()
                if not self._was_ever_bound:
                    self._announce(str(url))
                self._was_ever_bound = True
            case {"op": "cannot_bind", "error": error} if not self._was_ever_bound:
                self._is_wanted = False
                self._fail(str(error))

    def _announce(self, url: str) -> None:
        assert self._page is not None
        text = f"on {url}"
        if self._page.token is not None:
            path = self._around.directory.write_secret(TOKEN_FILE, self._page.token)
            text += f"; its buttons want the token in {path}"
        self._log(text, "info")

    def _on_output(self, line: str) -> None:
        self._around.console.write("dashboard", f"| {line}", "error", output=True)

    def _log(self, text: str, level: str) -> None:
        self._around.console.write("dashboard", text, level, event="cluster")
