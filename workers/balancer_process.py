"""The balancer as the launcher sees it: a process with a channel, brought back when it dies."""

import os
import random
import time
from collections.abc import Callable, Iterable

from balancer.config import Config, to_json
from balancer.control import Channel, Message
from workers.console import Console
from workers.loop import Loop
from workers.process import Process
from workers.restart import RestartPolicy

END_GRACE_S = 3.0
"""How long a balancer that has nothing more to say to us may take over its last replies."""

START_AGAIN_S = 0.5
"""When to try again after the system had no process or descriptor left for it."""
PULSE_S = 1.0
PULSES_MISSED_MAX = 4
"""A balancer that is silent for so many questions is frozen or spins. Counted in questions, not
in seconds, so that a pause of our own is not taken for one of its."""


class BalancerProcess:
    """What is sent while it is down is lost: ``orders_at_start`` tells a new one all it must know.

    Except for the names of ``once`` requests that one balancer gave to workers, and the next one
    must refuse: those are kept here. What holds for them ends with the launcher, so a client is
    told its ``life`` and sends none of them again to another.
    """

    def __init__(
        self,
        loop: Loop,
        console: Console,
        config: Callable[[], Config],
        on_message: Callable[[Message], None],
        orders_at_start: Callable[[], Iterable[Message]],
    ) -> None:
        self.process: Process | None = None
        self.restarts = 0
        self.is_wanted = True
        self.pulse_s: float | None = None
        """How long it took for the last sign of life that we asked for."""
        self._loop = loop
        self._console = console
        self._config = config
        self._on_message = on_message
        self._orders_at_start = orders_at_start
        self._channel: Channel | None = None
        self._life = os.urandom(8).hex()
        self._once_names: dict[str, None] = {}
        """The latest, the oldest first."""
        self._policy = RestartPolicy()
        self._bound_at: float | None = None
        self._pulses_missed = 0
        self._pulse_asked_at = 0.0
        self._is_condemned = False

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def start(self) -> None:
        self._bound_at = None
        try:
            self.process = Process("balancer", [], self._loop.selector, self._on_output)
        except OSError as error:
            self._log(f"no process for it ({error.strerror}); trying again", "warning")
            self._loop.after(START_AGAIN_S, self._start_if_wanted)
            return
        self._channel = Channel(
            self.process.connection, self._loop.selector, self._receive, self._on_channel_closed
        )
        self.send(
            {
                "op": "configure",
                "config": to_json(self._config()),
                "life": self._life,
                "once_names": list(self._once_names),
            }
        )
        for order in self._orders_at_start():
            self.send(order)

    def send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def note_exit(self) -> str | None:
        """Its process has ended: start another if one is wanted. A text if it failed for good."""
        assert self.process is not None
        cause, pid, now = self.process.exit_cause, self.process.pid, time.monotonic()
        has_failed = self.process.exit_code != 0
        if self._channel is not None:
            # It may have forwarded a ``once`` request just after it told us.
            self._channel.read_rest()
        self.process = self._channel = self.pulse_s = None
        if not self.is_wanted:
            is_loss = has_failed and not self._is_condemned
            return f"the balancer {cause}: the requests that it held are lost" if is_loss else None
        delay_s = self._policy.delay_s(
            now,
            ready_for_s=None if self._bound_at is None else now - self._bound_at,
            held_request=False,
            jitter=random.uniform(-1, 1),
        )
        if delay_s is None:
            return f"the balancer {cause} again and again"
        self.restarts += 1
        self._log(f"{cause} (pid {pid}); restarting {_in(delay_s)}, the workers go on", "warning")
        self._loop.after(delay_s, self._start_if_wanted)
        return None

    def kill(self) -> None:
        self.is_wanted = False
        self._is_condemned = True
        if self.process is not None:
            self.process.kill_group()

    def _start_if_wanted(self) -> None:
        if self.is_wanted:
            self.start()

    def _receive(self, message: Message) -> None:
        match message["op"]:
            case "log":
                self._on_log(message)
            case "event":
                self._console.publish(
                    "balancer", message["text"], message["level"], **message["fields"]
                )
            case "once":
                self._keep_once_name(message["name"])
            case "pulse":
                self._pulses_missed = 0
                self.pulse_s = time.monotonic() - self._pulse_asked_at
            case "bound":
                self._bound_at = time.monotonic()
                self._pulses_missed = 0
                assert self.process is not None
                if self.restarts:
                    self._log(f"back (pid {self.process.pid})", "info")
                self._take_pulse(self.process)
            case _:
                self._on_message(message)

    def _keep_once_name(self, name: str) -> None:
        self._once_names.pop(name, None)
        self._once_names[name] = None
        if len(self._once_names) > self._config().limits.once_ids_limit:
            del self._once_names[next(iter(self._once_names))]

    def _take_pulse(self, process: Process) -> None:
        """Ask the balancer for a sign of life, again and again; kill it if it gives none."""
        if self.process is not process:
            return
        if self._pulses_missed > PULSES_MISSED_MAX:
            self._log(f"gives no sign of life (pid {process.pid}): killing it", "warning")
            process.kill_group()
            return
        self._pulses_missed += 1
        self._pulse_asked_at = time.monotonic()
        self.send({"op": "pulse"})
        self._loop.after(PULSE_S, lambda: self._take_pulse(process))

    def _on_log(self, message: Message) -> None:
        dropped = message.get("dropped_before")
        if dropped:
            self._log(f"{dropped} lines dropped: the launcher was busy", "warning")
        self._console.write("balancer", message["text"], message["level"], **message["fields"])

    def _on_channel_closed(self) -> None:
        """It is ending, or says what cannot be understood; in neither case it may stay for long."""
        process = self.process
        if process is not None:
            self._loop.after(END_GRACE_S, process.kill_group)

    def _on_output(self, line: str) -> None:
        self._console.write("balancer", f"| {line}", "error", output=True)

    def _log(self, text: str, level: str) -> None:
        self._console.write("balancer", text, level, event="balancer")


def _in(delay_s: float) -> str:
    return f"in {delay_s:.1f} s" if delay_s else "at once"
