"""The fault table: what a steady load feels of each kind of fault, held against a bound.

100 requests/s of 20 ms each on 4 workers; a request is sent at its time whether or not those before
it are answered, and its latency counts from that time.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.processes import children_of, held
from tests.cluster.asking import Asker, Record, asker
from tests.cluster.load import WORKERS, Fault, Figures, happening, offer, offer_by_client
from tests.cluster.running import Cluster, wait_until

SECONDS = 12.0
RECOVERY_S = 5.0
STRIKES = 3
ENDS_WITHIN_S = 15.0


@dataclass(slots=True)
class Bench:
    """A cluster under load, and the bad requests that were sent to it."""

    cluster: Cluster
    stranger: Asker
    """Who sends the bad requests, on a connection of its own."""
    record: Record
    bad: list[int] = field(default_factory=list)

    def victim(self) -> int:
        """The oldest process of those at work, so that each has its turn and none is spared by
        the load, as an idle one may be."""

        def at_work() -> list[int]:
            workers = self.cluster.look()["workers"]
            busy = {worker["pid"] for worker in workers if worker["state"] == "busy"}
            pids = children_of(self.cluster.launcher.pid, "workers")
            return [pid for pid in pids if pid in busy]

        return wait_until(at_work, what="a worker at work")[0]

    def kill_worker(self) -> None:
        os.kill(self.victim(), signal.SIGKILL)

    def freeze_worker(self, seconds: float) -> Callable[[], None]:
        """Stop it; what is returned lets it go on, if it is still there."""
        pid = self.victim()
        os.kill(pid, signal.SIGSTOP)

        def thaw() -> None:
            with held(pid) as target:
                target.send(signal.SIGCONT)

        return thaw

    def kill_balancer(self) -> None:
        os.kill(children_of(self.cluster.launcher.pid, "balancer")[0], signal.SIGKILL)

    def send_bad(self, **deed: object) -> None:
        name = f"bad {len(self.bad)}"
        self.bad.append(self.stranger.send({"name": name, "record": self.record.path, **deed}))


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    faults: Callable[[Bench], list[Fault]]
    p99_s: float | None
    longest_s: float
    by_client: bool = False
    """Whether the load is that of our own client, which sends again what a balancer lost."""


def _freeze_for_a_while(bench: Bench) -> list[Fault]:
    thaws: list[Callable[[], None]] = []
    return [
        (3.0, lambda: thaws.append(bench.freeze_worker(6.0))),
        (9.0, lambda: thaws.pop()()),
    ]


def _crash(bench: Bench) -> None:
    bench.send_bad(do="crash", sleep_s=0.005)


def _hang(bench: Bench) -> None:
    bench.send_bad(sleep_s=1_000_000.0)


ROWS = [
    Row("nothing", lambda bench: [], 0.04, 0.1),
    Row("kill -9 of one worker", lambda bench: [(3.0, bench.kill_worker)], 0.04, 0.1),
    Row(
        "kill -9 of a worker every second, 7 times",
        lambda bench: [(2.0 + second, bench.kill_worker) for second in range(7)],
        0.04,
        0.1,
    ),
    Row("SIGSTOP of a worker for 6 s", _freeze_for_a_while, 0.04, 1.2),
    Row(
        "a poisonous request every second, 11 times",
        lambda bench: [(0.5 + second, lambda: _crash(bench)) for second in range(11)],
        0.05,
        0.15,
    ),
    Row(
        "two requests that hang for ever",
        lambda bench: [(3.0, lambda: _hang(bench)), (4.0, lambda: _hang(bench))],
        0.06,
        0.2,
    ),
    Row(
        "kill -9 of the balancer",
        lambda bench: [(3.0, bench.kill_balancer)],
        None,
        1.2,
        by_client=True,
    ),
]


@dataclass(frozen=True, slots=True)
class Result:
    row: Row
    figures: Figures
    broken: list[str]
    bad_endings: list[str]

    def __str__(self) -> str:
        figures = self.figures
        shares = (0.5, 0.99, 1.0)
        times = " ".join(f"{figures.percentile_s(share) * 1000:8.1f}" for share in shares)
        p99 = f"{self.row.p99_s * 1000:.0f}" if self.row.p99_s else "-"
        bounds = f"{p99:>5} {self.row.longest_s * 1000:5.0f}"
        said = f"; bad: {', '.join(sorted(set(self.bad_endings)))}" if self.bad_endings else ""
        verdict = "; ".join(self.broken) or "holds"
        answered = f"{figures.ok}/{figures.requests}"
        return f"{self.row.name:44} {answered:>9} {times} {bounds}  {verdict}{said}"


def measure(row: Row, seconds: float = SECONDS) -> Result:
    """Play one row on a cluster of its own."""
    figures = Figures()
    arguments = ("tests.cluster.jobs:work", "-w", str(WORKERS), "--try-timeout", "1s")
    with TemporaryDirectory() as directory, Cluster(*arguments) as cluster:
        cluster.wait_for_workers(WORKERS)
        with asker(cluster.address) as stranger:
            bench = Bench(cluster, stranger, Record(Path(directory) / "runs"))
            faults = row.faults(bench)
            if row.by_client:
                with happening(faults):
                    asyncio.run(offer_by_client(cluster.address, seconds, figures))
            else:
                with asker(cluster.address) as client, happening(faults):
                    offer(client, seconds, figures)
            broken = _judge_bad(bench)
            endings = [bench.stranger.reply(number).reason for number in bench.bad]
        try:
            cluster.wait_for_workers(WORKERS, RECOVERY_S)
        except AssertionError:
            broken.append(f"no {WORKERS} workers within {RECOVERY_S:g} s")
    return Result(row, figures, _judge(row, figures) + broken, endings)


def _judge(row: Row, figures: Figures) -> list[str]:
    broken = []
    if figures.ok != figures.requests:
        broken.append(f"NOT ALL ANSWERED: {dict(figures.endings)}, none {figures.unanswered}")
    if row.p99_s is not None and figures.percentile_s(0.99) > row.p99_s:
        broken.append("P99 TOO LONG")
    if figures.percentile_s(1.0) > row.longest_s:
        broken.append("LONGEST TOO LONG")
    return broken


def _judge_bad(bench: Bench) -> list[str]:
    """Every bad request gets its own error, and takes no more workers than it may."""
    broken = []
    for number, request in enumerate(bench.bad):
        reply = bench.stranger.reply(request, ENDS_WITHIN_S)
        if (reply.status, reply.reason) != (500, "poisoned"):
            broken.append(f"BAD {number} ENDED IN {reply.status} {reply.reason}")
        if (runs := len(bench.record.runs(f"bad {number}"))) > STRIKES:
            broken.append(f"BAD {number} TOOK {runs} WORKERS")
    return broken


def print_table(rows: Sequence[Row] = ROWS) -> int:
    """Play and print row after row; the exit status tells whether a bound was broken."""
    print(f"{'latencies in ms':44} {'answered':>9} {'p50':>8} {'p99':>8} {'longest':>8}   bounds")
    is_broken = False
    for row in rows:
        result = measure(row)
        is_broken = is_broken or bool(result.broken)
        print(result, flush=True)
    return int(is_broken)
