"""``python -m tests.mutants``: plant every bug of the table; all must be caught."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from tests.mutants.planting import Catch, DoesNotApply, hunt
from tests.mutants.table import MUTANTS, Mutant
from tests.simulation.campaign import usable_cores

SEEDS = 5000


def main() -> int:
    arguments = _arguments()
    mutants = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    began_at = monotonic()
    bad = 0
    # The threads only wait: each hunt is a process of its own.
    with ThreadPoolExecutor(usable_cores()) as pool:
        hunts = [(mutant, pool.submit(hunt, mutant, arguments.seeds)) for mutant in mutants]
        for mutant, future in hunts:
            try:
                catch = future.result()
            except DoesNotApply as error:
                print(f"does not apply   {error}", flush=True)
                bad += 1
            else:
                print(line(mutant, catch), flush=True)
                bad += catch.checker is None
    print(summary(mutants, bad, monotonic() - began_at))
    return int(bad > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"at most for each ({SEEDS})")
    parser.add_argument("--only", default="", help="those with this text in their name")
    return parser.parse_args()


def line(mutant: Mutant, catch: Catch) -> str:
    how = f"seed {catch.seed:4}  {catch.checker}" if catch.checker else "SURVIVED"
    return f"{mutant.file:14} {mutant.name:62} {how}"


def summary(mutants: Sequence[Mutant], bad: int, took_s: float) -> str:
    return f"{len(mutants) - bad} of {len(mutants)} caught in {took_s:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
