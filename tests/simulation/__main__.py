"""``python -m tests.simulation``: play many seeds, or show all of one."""

import argparse
import sys
from collections import Counter
from time import perf_counter

from tests.simulation.simulator import Result, play

_LINES_SHOWN = 40


def main() -> int:
    arguments = _arguments()
    if arguments.seed is not None:
        return show(play(arguments.seed), is_whole=True)
    began_at = perf_counter()
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    requests, virtual_s = 0, 0.0
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        result = play(seed)
        if result.error is not None:
            return show(result, is_whole=False)
        faults += result.faults
        outcomes += result.outcomes
        requests += result.requests
        virtual_s += result.virtual_s
    took_s = perf_counter() - began_at
    print(
        f"{arguments.seeds} seeds in {took_s:.1f} s ({arguments.seeds / took_s:.0f}/s): "
        f"{requests} requests, {virtual_s / 3600:.1f} h of virtual time, no promise broken"
    )
    _print_counts("outcomes", outcomes)
    _print_counts("faults", faults)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="play this one alone and print its whole trace")
    return parser.parse_args()


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))


def show(result: Result, *, is_whole: bool) -> int:
    """Print the trace, or its end, and the verdict; the exit status tells which it is."""
    if is_whole:
        print(result.scenario)
    print("\n".join(list(result.lines())[0 if is_whole else -_LINES_SHOWN :]))
    if result.error is None:
        print(f"seed {result.seed}: no promise broken; {dict(result.outcomes)}")
        return 0
    print(f"seed {result.seed}: {type(result.error).__name__}: {result.error}")
    print(f"replay it with: python -m tests.simulation --seed {result.seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
