"""The launcher: starts the balancer and the workers, restarts what dies, stops all in order.

Imports no user code and opens no ZeroMQ context: whatever crashes, it is not this process.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable

from balancer.config import Config
from balancer.control import Message
from balancer.printable import printable_line
from balancer.runtime_directory import NameTaken, RuntimeDirectory
from workers.balancer_process import BalancerProcess
from workers.commands import Commands
from workers.console import Console, as_json
from workers.loop import Loop, Timer
from workers.slot import Surroundings, WorkerSlot

OK, POOL_FAILED, BAD_CONFIGURATION, CANNOT_BIND = 0, 1, 2, 3
SECOND_STOP_S = 3.0
"""What a second Ctrl-C leaves to the requests; the third leaves nothing."""
QUIET_START_S = 2.0
"""How long nothing is printed unless there is a worker or a traceback to tell of: a start that
fails because the configuration is wrong fails by then, and should say only that."""
DRAIN_MARGIN_S = 2.0
"""What the balancer gets beyond the drain's time to send the last answers."""


def run(config: Config) -> int:
    """Run the cluster until it is told to stop or fails; the result is the exit code."""
    try:
        directory = RuntimeDirectory(config.name)
    except (NameTaken, PermissionError) as error:
        return _complain(config, str(error), BAD_CONFIGURATION)
    supervisor = Supervisor(config, directory)
    exit_code = supervisor.run()
    directory.close()
    if supervisor.complaint:
        return _complain(config, supervisor.complaint, exit_code)
    return exit_code


def _complain(config: Config, text: str, exit_code: int) -> int:
    """Say in one line, whatever the text holds, what made the cluster end."""
    line = f"run_cluster.py: error: {printable_line(text)}\n"
    if config.log_format == "json":
        line = as_json("cluster", text, "error", {})
    print(line, end="", file=sys.stderr)
    return exit_code


class Supervisor:
    def __init__(self, config: Config, directory: RuntimeDirectory) -> None:
        self.complaint = ""
        """What made the cluster end before it was of any use, for the person who started it."""
        self._config = config
        self._exit_code = OK
        self._loop = Loop()
        self._console = Console(config.log_format)
        self._stops_asked = 0
        self._is_stopping = False
        self._is_announced = False
        self._drain_timer: Timer | None = None
        self._tracebacks: set[str] = set()
        self._boot_failed: set[str] = set()
        self._balancer = BalancerProcess(
            self._loop, self._console, config, self._on_balancer_message, self._orders_at_start
        )
        around = Surroundings(
            self._loop,
            self._console,
            config,
            directory,
            self._balancer.send,
            self._on_boot_failure,
            self._on_slot_failed,
        )
        places = iter(range(1 << 30))
        self._slots = {
            slot: WorkerSlot(slot, pool.name, pool.handler, next(places), around)
            for pool in config.pools
            if pool.handler
            for slot in pool.slots
        }
        self._commands = Commands(
            self._loop, config, list(self._slots.values()), self._balancer, self._on_stop_command
        )

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._on_stop_asked)
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGUSR1, self._dump_state)
        self._announce_start()
        self._loop.after(QUIET_START_S, self._console.release)
        self._balancer.start()
        for slot in self._slots.values():
            slot.start()
        while not (self._is_stopping and self._is_empty()):
            self._loop.turn()
        if not self.complaint:
            self._log("stopped")
        self._commands.close()
        self._console.close(timeout_s=1.0)
        self._loop.close()
        return self._exit_code

    def _is_empty(self) -> bool:
        return self._balancer.process is None and not any(
            slot.is_alive for slot in self._slots.values()
        )

    # --- the balancer ---------------------------------------------------------------------------

    def _orders_at_start(self) -> Iterable[Message]:
        """What a new balancer must know: who is there to be dialed, and who will not come back."""
        for slot in self._slots.values():
            if slot.is_booted:
                slot.dial()
            elif slot.is_given_up:
                yield {"op": "removed", "slot": slot.name}

    def _on_balancer_message(self, message: Message) -> None:
        match message:
            case {"op": "cannot_bind", "error": error}:
                self._fail(str(error), CANNOT_BIND)
            case {"op": "status", "id": number, "snapshot": snapshot}:
                self._commands.note_snapshot(number, snapshot)
            case {"op": op, "slot": name, "incarnation": incarnation}:
                self._announce_ready(op)
                slot = self._slots.get(name)
                if slot is not None and slot.incarnation == incarnation:
                    self._pass_on(slot, message)

    def _pass_on(self, slot: WorkerSlot, message: Message) -> None:
        match message:
            case {"op": "ready"}:
                slot.note_in_rotation()
            case {"op": "lost", "cause": cause, "request": request}:
                slot.note_lost(cause, request)
            case {"op": "hung", "request": request}:
                slot.note_hung(request)

    def _announce_start(self) -> None:
        workers = len(self._slots)
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
        for slot in self._slots.values():
            if slot.is_alive and slot.process is not None and slot.process.reap():
                slot.note_exit()
        process = self._balancer.process
        if process is not None and process.reap():
            trouble = self._balancer.note_exit()
            if trouble:
                self._fail(trouble, POOL_FAILED)
            if not self._balancer.is_wanted:
                self._stop_workers()
        if os.getpid() == 1:
            self._reap_strangers()

    def _reap_strangers(self) -> None:
        """As PID 1 of a container we inherit every orphan; ours are known to be alive."""
        ours = {slot.process.pid for slot in self._slots.values() if slot.process is not None}
        ours.add(self._balancer.pid or 0)
        with contextlib.suppress(ChildProcessError):  # nobody is left, at the end
            while (
                dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None and dead.si_pid not in ours:
                os.waitpid(dead.si_pid, 0)

    def _on_boot_failure(self, slot: WorkerSlot, report: dict[str, str]) -> None:
        """A handler that could not be set up, in the worker's own words, each told once."""
        if report["event"] == "unknown_handler" and not slot.was_ever_ready:
            self._fail(report["error"], BAD_CONFIGURATION)
            return
        trace = report.get("traceback", report["error"])
        if trace not in self._tracebacks:
            self._tracebacks.add(trace)
            self._console.write(slot.name, f"cannot start:\n{trace.rstrip()}", "error")
        self._boot_failed.add(slot.name)
        of_pool = [other for other in self._slots.values() if other.pool == slot.pool]
        if not any(other.was_ever_ready for other in of_pool) and self._boot_failed >= {
            other.name for other in of_pool
        }:
            self._console.release()
            self._fail(
                f"no worker of pool '{slot.pool}' could start: {report['error']}", POOL_FAILED
            )

    def _on_slot_failed(self, failed: WorkerSlot) -> None:
        if all(slot.has_failed for slot in self._slots.values() if slot.pool == failed.pool):
            self._fail(f"every worker of pool '{failed.pool}' failed: {failed.why}", POOL_FAILED)

    # --- the end --------------------------------------------------------------------------------

    def _fail(self, complaint: str, exit_code: int) -> None:
        """End the cluster because it is of no use; the first trouble is the one to tell."""
        if self.complaint:
            return
        self.complaint, self._exit_code = complaint, exit_code
        if self._is_announced:
            self._drain(self._config.drain_timeout_s)
        else:
            self._drain(0.0)
            self._stop_workers()

    def _on_stop_command(self) -> None:
        """Unlike a signal, a command that comes twice asks for nothing more."""
        if not self._stops_asked:
            self._on_stop_asked()

    def _on_stop_asked(self) -> None:
        self._stops_asked += 1
        if self._stops_asked == 1:
            limit_s = self._config.drain_timeout_s
            self._log(f"draining for at most {limit_s:g} s; Ctrl-C again to hurry")
            self._drain(limit_s)
        elif self._stops_asked == 2:
            self._log(f"hurrying: {SECOND_STOP_S:g} s left; Ctrl-C again to kill")
            self._drain(SECOND_STOP_S)
        else:
            self._log("killing everything", "warning")
            self._kill_all()

    def _drain(self, timeout_s: float) -> None:
        """Have every accepted request answered, then stop the workers."""
        self._balancer.is_wanted = False
        if self._balancer.process is None:
            self._stop_workers()
            return
        self._balancer.send({"op": "drain", "timeout_s": timeout_s})
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._drain_timer = self._loop.after(timeout_s + DRAIN_MARGIN_S, self._kill_balancer)

    def _kill_balancer(self) -> None:
        self._balancer.kill()

    def _stop_workers(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            for slot in self._slots.values():
                slot.stop()

    def _kill_all(self) -> None:
        self._is_stopping = True
        self._balancer.kill()
        for slot in self._slots.values():
            slot.kill()

    # --- small print ----------------------------------------------------------------------------

    def _dump_state(self) -> None:
        from balancer.status import render

        self._commands.status(lambda status: self._log(render(status)))

    def _log(self, text: str, level: str = "info") -> None:
        self._console.write("cluster", text, level)
