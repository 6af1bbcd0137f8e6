"""``python -m tests.mutants.hunt 5000``: play seeds until one fails, and say which and why."""

import json
import resource
import sys

from tests.simulation.campaign import play_bounded
from tests.simulation.stories import kind_of

_MEMORY_MAX_BYTES = 1 << 30
_SEED_CPU_MAX_S = 5.0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX_BYTES, _MEMORY_MAX_BYTES))
    seeds = int(sys.argv[1])
    checker, seed = None, 0
    while checker is None and seed < seeds:
        checker = kind_of(play_bounded(seed, _SEED_CPU_MAX_S).error)
        seed += 1
    print(json.dumps({"checker": checker, "seed": seed - 1 if checker else seed}))


if __name__ == "__main__":
    main()
