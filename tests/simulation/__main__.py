"""``python -m tests.simulation``: play many seeds, or show all of one, or replay a tape."""

import argparse
import sys
from collections import Counter
from time import monotonic

from tests.simulation.campaign import Tally, play_bounded, run, usable_cores
from tests.simulation.simulator import Result, replay
from tests.simulation.situations import names
from tests.simulation.stories import shortest, tell
from tests.simulation.tape import Recording, from_text

_ALL_SITUATIONS_FROM = 20_000
"""So many seeds must have reached every rare situation."""
_REPORT_EVERY_S = 5.0
_SHRINK_MAX_S = 8.0


def main() -> int:
    arguments = _arguments()
    if arguments.tape is not None:
        return show(replay(arguments.tape))
    if arguments.seed is not None:
        return show(play_bounded(arguments.seed), is_shrunk=not arguments.whole)
    began_at = monotonic()
    ends_at = began_at + 60 * arguments.minutes
    cores = min(usable_cores(), arguments.cores)
    progress = Progress(began_at)
    tally = run(arguments.seeds, arguments.start, ends_at, cores, progress)
    print_tally(tally, monotonic() - began_at)
    if tally.failed_seed is not None:
        return show_seed(tally.failed_seed)
    print("no promise broken")
    never = sorted(set(names()) - tally.situations.keys())
    if never:
        print(f"never reached: {'; '.join(never)}")
    return int(bool(never) and tally.seeds >= _ALL_SITUATIONS_FROM)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long (60)")
    parser.add_argument("--cores", type=int, default=64, help="processes at most (all cores)")
    parser.add_argument("--seed", type=int, help="play this one, shrunk if it fails, and show it")
    parser.add_argument("--whole", action="store_true", help="show the seed as it is, not shrunk")
    parser.add_argument("--tape", type=_tape, help="replay a tape: its text, or @ and a file")
    return parser.parse_args()


def _tape(text: str) -> Recording:
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    return from_text("".join(text.split()))


class Progress:
    """A line on stderr now and then."""

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at
        self._next_at = began_at + _REPORT_EVERY_S

    def __call__(self, tally: Tally) -> None:
        now = monotonic()
        if now >= self._next_at:
            self._next_at = now + _REPORT_EVERY_S
            speed = tally.seeds / (now - self._began_at)
            print(f"{tally.seeds} seeds, {speed:.0f}/s", file=sys.stderr, flush=True)


def print_tally(tally: Tally, took_s: float) -> None:
    print(
        f"{tally.seeds} seeds in {took_s:.1f} s ({tally.seeds / took_s:.0f}/s): "
        f"{tally.requests} requests, {tally.steps} steps, "
        f"{tally.virtual_s / 3600:.1f} h of virtual time"
    )
    _print_counts("outcomes", tally.outcomes)
    _print_counts("faults", tally.faults)
    _print_counts("seeds with rare situations", tally.situations)


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))


def show_seed(seed: int) -> int:
    print(f"seed {seed} (replay it with: python -m tests.simulation --seed {seed})")
    return show(play_bounded(seed), is_shrunk=True)


def show(result: Result, *, is_shrunk: bool = False) -> int:
    """Print the story; the exit status tells whether a promise was broken."""
    if is_shrunk and result.error is not None:
        result = shortest(result, _SHRINK_MAX_S)
    print("\n".join(tell(result)))
    return 0 if result.error is None else 1


if __name__ == "__main__":
    sys.exit(main())
