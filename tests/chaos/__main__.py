"""``python -m tests.chaos``: break a real cluster in every way for a while, and judge it."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.run import Verdict, run
from tests.chaos.sabotage import SABOTAGES, play_all
from tests.chaos.table import print_table

VIOLATIONS_SHOWN = 30
BATCH_SIZES = (1, 4, 16)


def main() -> int:
    arguments = _arguments()
    if arguments.table:
        return print_table()
    if arguments.sabotage:
        return play_all(arguments.sabotage)
    kinds = arguments.faults.split(",") if arguments.faults else None
    directory = Path(arguments.keep or tempfile.mkdtemp(prefix="chaos-"))
    directory.mkdir(exist_ok=True)
    print(f"chaos for {arguments.seconds:g} s, seed {arguments.seed}, histories in {directory}")
    seconds, seed, pace = arguments.seconds, arguments.seed, arguments.pace
    batch_max = arguments.batch_max or random.Random(f"batches {seed}").choice(BATCH_SIZES)
    print(f"a free worker may be handed {batch_max} at once")
    verdict = asyncio.run(run(directory, seconds, seed, kinds, pace, batch_max))
    if not verdict.violations and not arguments.keep:
        shutil.rmtree(directory)
    return report(verdict)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to break things (30)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--faults", help=f"only these, with commas: {', '.join(FAULTS)}")
    parser.add_argument("--pace", type=float, default=1.0, help="so many times as often (1)")
    parser.add_argument("--batch-max", type=int, help="as for the cluster (drawn by the seed)")
    parser.add_argument("--table", action="store_true", help="measure the fault table instead")
    parser.add_argument("--sabotage", choices=[*SABOTAGES, "all"], help="see a bug being found")
    parser.add_argument("--keep", help="the directory for the histories and the cluster's log")
    arguments = parser.parse_args()
    if unknown := set((arguments.faults or "").split(",")) - {"", *FAULTS}:
        parser.error(f"no faults of ours: {', '.join(sorted(unknown))}")
    if arguments.keep and list(Path(arguments.keep).glob("*.jsonl")):
        parser.error(f"{arguments.keep} holds the histories of another run")
    return arguments


def report(verdict: Verdict) -> int:
    """Print what there is to tell; the exit status tells whether a promise was broken."""
    history = verdict.history
    endings = Counter(
        f"{operation.kind}: {outcome.label}" for operation, outcome in history.endings()
    )
    answered = sum(outcome.status == 200 for _, outcome in history.endings())
    print(
        f"{len(history.operations)} operations, {answered} of them answered with 200, "
        f"{len(history.runs)} executions, "
        f"{verdict.injected.total()} faults; well again within {verdict.healed_within_s:.1f} s; "
        f"the balancer took {verdict.baseline} before and {verdict.final} after, "
        f"and none grew by more than {verdict.growth.largest_bytes() / 2**20:.1f} MiB"
    )
    _print_counts("faults", verdict.injected)
    _print_counts("endings", endings)
    _print_counts("violations", Counter(violation.check for violation in verdict.violations))
    for violation in verdict.violations[:VIOLATIONS_SHOWN]:
        print(f"  {violation}")
    found = len(verdict.violations)
    print(f"{found} violation{'s' * (found > 1)}" if found else "no promise broken")
    return 1 if found else 0


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{title}: " + (", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none"))


if __name__ == "__main__":
    sys.exit(main())
