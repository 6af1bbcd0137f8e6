"""``python -m tests.benchmarks``: what the balancer costs, and its peers beside it."""

import argparse
import sys

from tests.benchmarks import rows_of_echo, table
from tests.benchmarks.contestants import usable
from tests.benchmarks.rounds import Scale, play

ROWS = {row.name: row for row in rows_of_echo.ROWS}


def main() -> int:
    arguments = _arguments()
    scale = Scale(seconds_factor=0.25, is_quick=True) if arguments.quick else Scale()
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    contestants, missing = usable()
    for line in missing:
        print(f"left out: {line}")
    for name in arguments.rows.split(",") if arguments.rows else ROWS:
        results = play(ROWS[name], contestants, rounds, scale)
        print("\n".join(table.lines(results)), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough idea, within 90 s")
    parser.add_argument("--rows", help=f"only these, with commas: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="how often each contestant has its turn (3)")
    arguments = parser.parse_args()
    if unknown := set((arguments.rows or "").split(",")) - {"", *ROWS}:
        parser.error(f"no rows of ours: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
