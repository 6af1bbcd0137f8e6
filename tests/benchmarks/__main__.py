"""``python -m tests.benchmarks``: what the balancer costs, and its peers beside it."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import (
    picture,
    report,
    rows_of_cost,
    rows_of_echo,
    rows_of_growth,
    rows_of_work,
    table,
)
from tests.benchmarks.contestants import usable
from tests.benchmarks.rounds import Results, Scale, play
from tests.plain import IS_COMPILED

ROWS = {
    row.name: row
    for rows in (rows_of_echo.ROWS, rows_of_work.ROWS, rows_of_growth.ROWS, rows_of_cost.ROWS)
    for row in rows
}
QUICK = Scale(seconds_factor=0.25, workers_max=16, idle_clients=500)


def main() -> int:
    """Measure, and print; the exit status is 1 if a contestant failed somewhere."""
    arguments = _arguments()
    # Whatever ends us, what we have started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began_at = time.monotonic()
    contestants, missing = usable()
    say = sys.stderr if arguments.json else sys.stdout
    print(f"{_machine()}\n\n{table.LEGEND}", file=say)
    print("".join(f"left out: {line}\n" for line in missing), file=say)
    all_results: dict[str, Results] = {}
    for name in _names(arguments):
        rounds = arguments.rounds or (1 if arguments.quick else None)
        results = play(ROWS[name], contestants, rounds, QUICK if arguments.quick else Scale())
        all_results[name] = results
        print("\n".join(table.lines(results)) + "\n", file=say, flush=True)
    print(f"took {time.monotonic() - began_at:.0f} s", file=say)
    if arguments.json:
        print(json.dumps(_words(list(all_results.values()), missing), indent=1))
    if arguments.picture:
        Path(arguments.picture).write_text(picture.draw(all_results["echo"]), encoding="utf-8")
    return int(any(results.troubles for results in all_results.values()))


def _words(all_results: list[Results], missing: list[str]) -> dict[str, Any]:
    rows = [report.to_words(results) for results in all_results]
    return {"machine": _machine(), "left_out": missing, "rows": rows}


def _machine() -> str:
    load = os.getloadavg()[0]
    kind = ", compiled" if IS_COMPILED else ""
    return (
        f"Python {platform.python_version()}{kind}, {os.cpu_count()} processors, "
        f"load {load:.1f} before we begin"
    )


def _names(arguments: argparse.Namespace) -> list[str]:
    chosen: str | None = arguments.rows
    if chosen:
        return chosen.split(",")
    return [name for name, row in ROWS.items() if row.is_default]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a rough idea, within 90 s: short, one round, no large pools",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, the tables to stderr")
    parser.add_argument("--rows", help=f"only these, with commas: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (3; long rows 1)")
    parser.add_argument("--picture", metavar="FILE.svg", help="draw the row echo as a bar chart")
    arguments = parser.parse_args()
    if unknown := set((arguments.rows or "").split(",")) - {"", *ROWS}:
        parser.error(f"no rows of ours: {', '.join(sorted(unknown))}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if arguments.picture and "echo" not in _names(arguments):
        parser.error("--picture needs the row echo")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
