"""Walk for longer than the tests do: ``python -m tests.walks --examples 20000``."""

import argparse
import sys
from time import perf_counter

from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.walks.machine import Walk


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.walks", description=__doc__)
    parser.add_argument("--examples", type=int, default=5000, help="how many walks (5000)")
    parser.add_argument("--steps", type=int, default=60, help="the most steps of one (60)")
    parser.add_argument("--seed", type=int, default=0, help="where they begin (0)")
    arguments = parser.parse_args()
    began_at = perf_counter()
    run_state_machine_as_test(
        seed(arguments.seed)(Walk),
        settings=settings(
            max_examples=arguments.examples,
            stateful_step_count=arguments.steps,
            deadline=None,
            report_multiple_bugs=False,
            database=None,
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    print(f"{arguments.examples} walks in {perf_counter() - began_at:.1f} s, no promise broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
