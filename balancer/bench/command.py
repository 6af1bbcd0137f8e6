"""The word ``bench``: finds the cluster, runs the load and prints what came of it."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic

from balancer.arguments import PROGRAM
from balancer.bench.arguments import Asked, parse_bench
from balancer.bench.killing import Killer
from balancer.bench.load import Load
from balancer.bench.plan import Plan
from balancer.bench.progress import Progress
from balancer.bench.report import render
from balancer.bench.result import Result, Run, result
from balancer.bench.schedule import schedule_of
from balancer.bench.tally import Tally
from balancer.commands import FAILED, INTERRUPTED, OK, fail, fail_without_cluster
from balancer.config import load_name
from balancer.control import NotRunning, ask
from balancer.sources import ConfigError


def bench(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """0 if every request was answered with status 200, 1 if not, 130 after Ctrl-C."""
    asked = parse_bench(argv)
    name = load_name(asked.cluster, environ)
    try:
        address, cluster = _find(asked, name)
        found = _measure(asked.plan, address, cluster)
    except NotRunning as error:
        return fail_without_cluster(name, error)
    except KeyboardInterrupt:
        return INTERRUPTED
    if found is None:
        return fail(_nobody_there(address), FAILED)
    _print(found, asked.as_json)
    if found["interrupted"]:
        return INTERRUPTED
    return OK if found["sent"] == found["ok"] > 0 else FAILED


def _find(asked: Asked, name: str) -> tuple[str, str | None]:
    """The address to load, and the name of the cluster if that is known; NotRunning if it is
    needed and there is none."""
    if asked.address and asked.plan.kill_every_s is None:
        return asked.address, None
    bind = str(ask(name, "status")["cluster"]["bind"])
    if asked.address not in (None, bind):
        raise ConfigError(
            f"cluster {name!r} listens on {bind}, not on {asked.address}: --kill-every would kill "
            "workers of another cluster than the one under load; say which with --name"
        )
    return bind, name


def _measure(plan: Plan, address: str, cluster: str | None) -> Result | None:
    """None if nobody is at the address."""
    started_at, wall_time = monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    tally, schedule = Tally(plan.duration_s), schedule_of(plan)
    load = Load(address, plan, schedule, tally, started_at)
    progress = Progress(sys.stderr, plan.duration_s)
    with _interrupting(load) as interrupts, _killing(plan, cluster, started_at) as killer:

        def on_tick(now_s: float) -> None:
            if killer is not None:
                killer.report_to(tally)
            progress.draw(now_s, tally)

        took_s = load.run(on_tick)
        progress.clear()
    if killer is not None:
        killer.report_to(tally)
    if load.is_nobody_there and not interrupts:
        return None
    run = Run(cluster, address, wall_time, took_s, bool(interrupts))
    return result(run, plan, schedule, tally)


@contextlib.contextmanager
def _interrupting(load: Load) -> Iterator[list[int]]:
    """Ctrl-C ends the load, and what was measured is printed; the list says whether it came."""
    interrupts: list[int] = []

    def stop(number: int, _: object) -> None:
        interrupts.append(number)
        load.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _killing(plan: Plan, cluster: str | None, started_at: float) -> Iterator[Killer | None]:
    if plan.kill_every_s is None or cluster is None:
        yield None
        return
    killer = Killer(cluster, plan.kill_every_s, plan.duration_s, started_at)
    killer.start()
    try:
        yield killer
    finally:
        killer.stop()


def _print(found: Result, as_json: bool) -> None:
    text = json.dumps(found, indent=2) + "\n" if as_json else render(found)
    sys.stdout.write(text)
    sys.stdout.flush()


def _nobody_there(address: str) -> str:
    start = f"python {PROGRAM} --bind {address}"
    return f"nobody answers at {address}; start a cluster there with: {start}"
