"""How the cluster ends: it drains, hurries or is killed, as asked or because it is of no use."""

from balancer.config import Config
from workers.balancer_process import BalancerProcess
from workers.crew import Crew
from workers.loop import Timer
from workers.reload import Reload
from workers.surroundings import Surroundings

SECOND_STOP_S = 3.0
"""What a second Ctrl-C leaves to the requests; the third leaves nothing."""
DRAIN_MARGIN_S = 2.0
"""What the balancer gets beyond the drain's time to send the last answers."""


class Stopping:
    """First the balancer answers what it has accepted and ends, then the workers do."""

    def __init__(
        self, around: Surroundings, balancer: BalancerProcess, crew: Crew, reload: Reload
    ) -> None:
        self.has_reached_workers = False
        """They are told to end, or have been killed."""
        self.complaint = ""
        """What made the cluster end, if nobody asked for that."""
        self.exit_code = 0
        self._around = around
        self._balancer = balancer
        self._crew = crew
        self._reload = reload
        self._asked = 0
        self._timer: Timer | None = None

    @property
    def has_begun(self) -> bool:
        return not self._balancer.is_wanted

    def ask(self) -> None:
        """By signal: a second time is for who is in a hurry, a third for who will not wait."""
        self._asked += 1
        if self._asked == 1:
            limit_s = self._config.drain_timeout_s
            self._log(f"draining for at most {limit_s:g} s; Ctrl-C again to hurry")
            self._drain(limit_s)
        elif self._asked == 2:
            self._log(f"hurrying: {SECOND_STOP_S:g} s left; Ctrl-C again to kill")
            self._drain(SECOND_STOP_S)
        else:
            self._log("killing everything", "warning")
            self._kill_all()

    def ask_once(self) -> None:
        """By a command or a closed terminal: to come twice asks for nothing more."""
        if not self._asked:
            self.ask()

    def fail(self, complaint: str, exit_code: int, *, was_of_use: bool) -> None:
        """End the cluster because it is of no use; the first trouble is the one to tell."""
        if self.complaint:
            return
        self.complaint, self.exit_code = complaint, exit_code
        self._drain(self._config.drain_timeout_s if was_of_use else 0.0)
        if not was_of_use:
            self.stop_workers()

    def stop_workers(self) -> None:
        """There is nothing left for them to do."""
        if not self.has_reached_workers:
            self.has_reached_workers = True
            self._crew.stop()

    def _drain(self, timeout_s: float) -> None:
        """Have every accepted request answered; the workers are stopped when that is done."""
        self._balancer.is_wanted = False
        self._crew.stop_rolling()
        self._reload.stop()
        if self._balancer.process is None:
            self.stop_workers()
            return
        self._balancer.send({"op": "drain", "timeout_s": timeout_s})
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._around.loop.after(timeout_s + DRAIN_MARGIN_S, self._balancer.kill)

    def _kill_all(self) -> None:
        self.has_reached_workers = True
        self._balancer.kill()
        self._crew.kill()

    @property
    def _config(self) -> Config:
        return self._around.config

    def _log(self, text: str, level: str = "info") -> None:
        self._around.console.write("cluster", text, level, event="cluster")
