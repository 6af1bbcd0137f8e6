"""The launcher: starts the balancer and the workers, restarts what dies, stops all in order.

Imports no user code and opens no ZeroMQ context: whatever crashes, it is not this process.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from balancer.config import Config, to_json
from balancer.control import Message
from balancer.printable import printable_line
from balancer.runtime_directory import NameTaken, RuntimeDirectory
from workers.balancer_process import BalancerProcess
from workers.commands import Commands
from workers.console import Console, as_json
from workers.crew import Crew
from workers.dashboard_process import DashboardProcess
from workers.loop import Loop
from workers.reload import Reload
from workers.steering import Impossible, Steering
from workers.stopping import Stopping
from workers.surroundings import Surroundings
from workers.terminal import Terminal

POOL_FAILED, BAD_CONFIGURATION, CANNOT_BIND = 1, 2, 3
QUIET_START_S = 2.0
"""How long nothing is printed unless there is a worker or a traceback to tell of: a start that
fails because the configuration is wrong fails by then, and should say only that."""


def run(config: Config, read_again: Callable[[], Config]) -> int:
    """Run the cluster until it is told to stop or fails; the result is the exit code.

    ``read_again`` reads the configuration anew, for a reload; it raises ConfigError.
    """
    try:
        directory = RuntimeDirectory(config.name)
    except (NameTaken, PermissionError) as error:
        return _complain(config, str(error), BAD_CONFIGURATION)
    supervisor = Supervisor(config, read_again, directory)
    exit_code = supervisor.run()
    directory.close()
    if supervisor.stopping.complaint:
        return _complain(config, supervisor.stopping.complaint, exit_code)
    return exit_code


def _complain(config: Config, text: str, exit_code: int) -> int:
    """Say in one line, whatever the text holds, what made the cluster end."""
    line = f"run_cluster.py: error: {printable_line(text)}\n"
    if config.log_format == "json":
        line = as_json("cluster", text, "error", {})
    print(line, end="", file=sys.stderr)
    return exit_code


class Supervisor:
    def __init__(
        self, config: Config, read_again: Callable[[], Config], directory: RuntimeDirectory
    ) -> None:
        self._loop = Loop()
        self._console = Console(config.log_format)
        self._terminal = Terminal()
        self._must_outlive_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._is_announced = False
        self._balancer = BalancerProcess(
            self._loop,
            self._console,
            lambda: self._crew.config_for_balancer(),
            self._on_balancer_message,
            self._orders_at_start,
        )
        self._around = Surroundings(
            self._loop, self._console, config, directory, self._balancer.send
        )
        self._crew = Crew(self._around, self._fail)
        self._reload = Reload(
            self._loop, self._console, read_again, lambda: self._config, self._follow
        )
        self.stopping = Stopping(self._around, self._balancer, self._crew, self._reload)
        self._steering = Steering(self._around, self._crew, lambda: self.stopping.has_begun)
        self._commands = Commands(
            self._loop,
            self._around,
            self._crew,
            self._balancer,
            self._steering,
            self.stopping.ask_once,
        )
        self._dashboard = DashboardProcess(
            self._around, lambda trouble: self._fail(trouble, CANNOT_BIND)
        )
        self._console.feed.on_watched = self._tell_if_watched

    @property
    def _config(self) -> Config:
        return self._around.config

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self.stopping.ask)
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGUSR1, self._dump_state)
        self._loop.on_signal(signal.SIGHUP, self._on_hangup)
        self._loop.on_signal(signal.SIGTTIN, lambda: self._scale_by(1))
        self._loop.on_signal(signal.SIGTTOU, lambda: self._scale_by(-1))
        self._announce_start()
        self._loop.after(QUIET_START_S, self._console.release)
        self._balancer.start()
        self._crew.start()
        self._dashboard.start()
        while not (self.stopping.has_reached_workers and self._is_empty()):
            self._loop.turn()
        self._dashboard.stop()
        while self._dashboard.pid is not None:
            self._loop.turn()
        if not self.stopping.complaint:
            self._log("stopped")
        self._commands.close()
        self._console.close(timeout_s=1.0)
        self._loop.close()
        return self.stopping.exit_code

    def _is_empty(self) -> bool:
        return self._balancer.process is None and not self._crew.is_alive and self._reload.is_over

    # --- the balancer ---------------------------------------------------------------------------

    def _on_balancer_message(self, message: Message) -> None:
        match message:
            case {"op": "cannot_bind", "error": error}:
                self._fail(str(error), CANNOT_BIND)
            case {"id": number}:
                self._commands.note_answer(number, message)
            case {"op": op, "slot": _, "incarnation": _}:
                self._announce_ready(op)
                self._crew.on_balancer_message(message)

    def _orders_at_start(self) -> Iterator[Message]:
        yield {"op": "watch", "is_watched": self._console.feed.is_watched}
        yield from self._crew.orders_at_start()

    def _tell_if_watched(self) -> None:
        self._balancer.send({"op": "watch", "is_watched": self._console.feed.is_watched})

    def _announce_start(self) -> None:
        workers = len(self._config.worker_slots())
        endpoints = sum(len(pool.endpoints) for pool in self._config.pools)
        tasks = [f"starts {workers} worker{'s' * (workers != 1)}"] if workers else []
        tasks += [f"dials {endpoints} endpoint{'s' * (endpoints != 1)}"] if endpoints else []
        self._log(
            f"'{self._config.name}' {' and '.join(tasks)} (pid {os.getpid()}); Ctrl-C stops it"
        )

    def _announce_ready(self, op: str) -> None:
        if op == "ready" and not self._is_announced:
            self._is_announced = True
            self._console.release()
            self._log(f"ready on {self._config.bind}")

    # --- the workers ----------------------------------------------------------------------------

    def _reap(self) -> None:
        self._crew.reap()
        self._reload.reap()
        self._dashboard.reap()
        process = self._balancer.process
        if process is not None and process.reap():
            trouble = self._balancer.note_exit()
            if trouble:
                self._fail(trouble, POOL_FAILED)
            if self.stopping.has_begun:
                self.stopping.stop_workers()
        if os.getpid() == 1:
            self._reap_strangers()

    def _reap_strangers(self) -> None:
        """As PID 1 of a container we inherit every orphan; ours are known to be alive."""
        ours = {*self._crew.pids, *self._reload.pids}
        ours |= {self._balancer.pid or 0, self._dashboard.pid or 0}
        with contextlib.suppress(ChildProcessError):  # nobody is left, at the end
            while (
                dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None and dead.si_pid not in ours:
                os.waitpid(dead.si_pid, 0)

    def _scale_by(self, step: int) -> None:
        try:
            self._log(self._steering.scale_by(step).text)
        except Impossible as error:
            self._log(f"not scaled: {error}", "warning")

    # --- a new configuration ----------------------------------------------------------------------

    def _on_hangup(self) -> None:
        if self._terminal.is_gone:
            self._on_terminal_gone()
        elif not self.stopping.has_begun:
            self._log("reload asked for: reading the configuration, trying its handlers")
            self._reload.ask()

    def _on_terminal_gone(self) -> None:
        """Nobody can press Ctrl-C any more. Who was started with nohup is to stay."""
        if not self._must_outlive_terminal:
            self.stopping.ask_once()

    def _follow(self, config: Config) -> None:
        """New limits at once, then new workers, one after another."""
        if not self.stopping.has_begun:
            self._balancer.send({"op": "reconfigure", "config": to_json(config)})
            self._crew.reload(config)

    # --- small print ----------------------------------------------------------------------------

    def _fail(self, complaint: str, exit_code: int) -> None:
        self.stopping.fail(complaint, exit_code, was_of_use=self._is_announced)

    def _dump_state(self) -> None:
        from balancer.status import render

        self._commands.status(lambda status: self._console.write("cluster", render(status)))

    def _log(self, text: str, level: str = "info") -> None:
        self._console.write("cluster", text, level, event="cluster")
