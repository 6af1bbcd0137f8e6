"""A history told by hand, for tests of the checker: its clock starts at 1,000 s."""

from tests.chaos.checks import violations
from tests.chaos.history import Fault, History, Operation, Outcome, Run

START = 1_000.0


class Tale:
    """Every method tells one thing that was seen; instants are seconds after the start."""

    def __init__(self) -> None:
        self.history = History()

    def asked(
        self,
        op: str = "a",
        *,
        at: float = 0.0,
        kind: str = "echo",
        once: bool = False,
        timeout_s: float = 10.0,
        shell: str = "sync",
        via_proxy: bool = False,
    ) -> None:
        self.history.operations[op] = Operation(
            op, shell, shell, via_proxy, kind, once, timeout_s, START + at
        )

    def ran(
        self,
        op: str = "a",
        *,
        begin: float = 0.1,
        end: float | None = 0.2,
        worker: str = "w1",
        answer: str | None = "x",
        is_empty: bool = False,
    ) -> None:
        run = f"{worker}/{len(self.history.runs)}"
        ended_at = None if end is None else START + end
        answer = None if end is None or is_empty else answer
        self.history.runs[run] = Run(run, op, worker, 1, START + begin, ended_at, answer, is_empty)

    def replied(
        self,
        op: str = "a",
        status: int | None = 200,
        reason: str = "",
        *,
        at: float = 0.3,
        body: str | None = "x",
        may_have_run: bool = False,
        tried: tuple[tuple[str, str], ...] = (),
    ) -> None:
        body = body if status == 200 else None
        outcome = Outcome(op, START + at, status, reason, 1, may_have_run, body, tried)
        self.history.outcomes[op].append(outcome)

    def broke(self, kind: str, begin: float, end: float) -> None:
        self.history.faults.append(Fault(kind, START + begin, START + end))

    def client_was_killed(self, shell: str = "sync") -> None:
        self.history.killed_clients.add(shell)

    def found(self) -> list[str]:
        """The numbers of the checks that are not content, each as often as it found something."""
        return [violation.check.split()[0] for violation in violations(self.history)]
