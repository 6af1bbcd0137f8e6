"""What was seen from outside: operations of clients, executions of handlers, faults; as JSON lines.

Every line is one write to a file opened for appending, so that lines of several processes do not
mix, and whoever is killed leaves whole lines behind. Instants are those of CLOCK_MONOTONIC, which
is the same for every process of a machine.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgpack


@dataclass(frozen=True, slots=True)
class Operation:
    """One request as its client sent it."""

    op: str
    client: str
    shell: str
    """What kind of client: sync, async, req or dealer."""
    via_proxy: bool
    kind: str
    """What was asked for: echo, late, crash …"""
    once: bool
    timeout_s: float
    invoked_at: float

    @property
    def deadline(self) -> float:
        return self.invoked_at + self.timeout_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended for its client; a reply may still follow where it gave up."""

    op: str
    at: float
    status: int | None
    """None: there was no reply."""
    reason: str = ""
    attempts: int = 0
    may_have_run: bool = False
    digest: str | None = None
    """Of the body, where there is one."""
    tried: tuple[tuple[str, str], ...] = ()
    """Of each failed try its worker and how it ended, as the reply tells."""

    @property
    def label(self) -> str:
        return "no reply" if self.status is None else f"{self.status} {self.reason}".strip()


@dataclass(slots=True)
class Run:
    """One execution of the handler."""

    run: str
    op: str
    worker: str
    """Pid and boot instant of the process: a pid alone may come back."""
    attempt: int
    started_at: float
    ended_at: float | None = None
    digest: str | None = None
    is_empty: bool = False
    """It ended by saying *not mine*."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken from ``began_at`` until ``ended_at``."""

    kind: str
    began_at: float
    ended_at: float


@dataclass(slots=True)
class History:
    """All of it."""

    operations: dict[str, Operation] = field(default_factory=dict)
    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, Run] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    killed_clients: set[str] = field(default_factory=set)
    has_batches: bool = False
    """Workers were handed several requests at once, so that one may go down with another's."""

    def runs_of(self) -> dict[str, list[Run]]:
        """The executions of each operation that had any."""
        runs: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            runs[run.op].append(run)
        return runs

    def endings(self) -> Iterator[tuple[Operation, Outcome]]:
        """Every operation that was completed, with its outcome: its reply, if one came at all."""
        for op, operation in self.operations.items():
            outcomes = self.outcomes.get(op, [])
            for outcome in sorted(outcomes, key=lambda outcome: outcome.status is None)[:1]:
                yield operation, outcome


def digest(body: Any) -> str:
    """A fingerprint of a reply's body, the same on both ends."""
    return hashlib.sha1(msgpack.packb(body)).hexdigest()[:16]


# --- files --------------------------------------------------------------------------------------


class Journal:
    """One process's end of a file that several append to."""

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append(self, type: str, **fields: Any) -> None:
        os.write(self._descriptor, json.dumps({"type": type, **fields}).encode() + b"\n")

    def invoke(self, operation: Operation) -> None:
        """Write this down before the request is sent."""
        self.append("invoke", **asdict(operation))

    def complete(self, outcome: Outcome) -> None:
        self.append("complete", **asdict(outcome))


def load(paths: Iterable[Path]) -> History:
    """Read what everybody wrote down, in whatever order the files are given."""
    history = History()
    ends: list[dict[str, Any]] = []
    for path in paths:
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            match fields.pop("type"):
                case "invoke":
                    history.operations[fields["op"]] = Operation(**fields)
                case "complete":
                    tried = tuple((worker, why) for worker, why in fields.pop("tried"))
                    history.outcomes[fields["op"]].append(Outcome(**fields, tried=tried))
                case "start":
                    history.runs[fields["run"]] = Run(**fields)
                case "end":
                    ends.append(fields)
                case "fault":
                    history.faults.append(Fault(**fields))
                case "client killed":
                    history.killed_clients.add(fields["client"])
    for end in ends:
        run = history.runs[end["run"]]
        run.ended_at, run.digest, run.is_empty = end["at"], end["digest"], end["is_empty"]
    return history
