"""Full load on a cluster whose workers are replaced all the time: what its clients see of it.

``python -m tests.cluster.renewal [--seconds 12]`` prints a row for each way to replace them, beside
one without any. No request may fail, move or run twice; the exit status is 1 if one does, or if
p99 is above three times that of the undisturbed cluster.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.cluster.asking import Record, asker
from tests.cluster.load import WORKERS, Figures, happening, offer
from tests.cluster.running import Cluster

RATE_PER_S = 160
SLEEP_S = 0.02
RECYCLED_AFTER = 50
RELOAD_EVERY_S = 1.5
P99_FACTOR_MAX = 3.0


def measure(seconds: float, *options: str, reload: bool = False) -> tuple[Figures, int, int]:
    """Its figures, how many requests ran twice, and how many processes have served."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as directory:
        record = Record(Path(directory) / "runs")
        job = {"sleep_s": SLEEP_S, "record": record.path}
        with Cluster("tests.cluster.jobs:work", "-w", str(WORKERS), *options) as cluster:
            cluster.wait_for_workers(WORKERS)

            def hang_up(cluster: Cluster = cluster) -> None:
                os.kill(cluster.launcher.pid, signal.SIGHUP)

            reloads = int(seconds / RELOAD_EVERY_S) if reload else 0
            dates = [(RELOAD_EVERY_S * (number + 0.5), hang_up) for number in range(reloads)]
            with asker(cluster.address) as client, happening(dates):
                offer(client, seconds, figures, RATE_PER_S, job)
        runs = record.runs()
    return figures, len(runs) - figures.requests, len(Counter(run["pid"] for run in runs))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.renewal", description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0)
    seconds = parser.parse_args().seconds
    print(
        f"{seconds:g} s at {RATE_PER_S} requests/s of {SLEEP_S * 1000:g} ms on {WORKERS} workers\n"
        f"{'latencies in ms':26} {'ok':>9} {'moved':>6} {'twice':>6} {'processes':>9} "
        f"{'p50':>7} {'p99':>7} {'longest':>8}"
    )
    recycling = ("--max-requests", str(RECYCLED_AFTER))
    undisturbed_s, is_broken = 0.0, False
    for name, options, reload in (
        ("undisturbed", (), False),
        (f"recycling every {RECYCLED_AFTER}", recycling, False),
        (f"SIGHUP every {RELOAD_EVERY_S:g} s", (), True),
        ("both", recycling, True),
    ):
        figures, twice, processes = measure(seconds, *options, reload=reload)
        p50_s, p99_s, longest_s = (figures.percentile_s(share) for share in (0.5, 0.99, 1.0))
        undisturbed_s = undisturbed_s or p99_s
        is_lossy = figures.ok != figures.requests or figures.moved > 0 or twice != 0
        is_broken = is_broken or is_lossy or p99_s > P99_FACTOR_MAX * undisturbed_s
        print(
            f"{name:26} {figures.ok:>4}/{figures.requests:<4} {figures.moved:>6} {twice:>6} "
            f"{processes:>9} {p50_s * 1000:>7.1f} {p99_s * 1000:>7.1f} {longest_s * 1000:>8.1f}"
            f"  {p99_s / undisturbed_s:.1f} x{'  BROKEN' if is_lossy else ''}",
            flush=True,
        )
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
