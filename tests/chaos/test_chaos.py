"""A few seconds of everything at once; ``python -m tests.chaos`` does it for longer."""

import asyncio
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.run import run

SECONDS = 3.0


def test_no_promise_is_broken_while_everything_else_is(tmp_path: Path) -> None:
    kinds = set(FAULTS) - {"hang"}  # which takes several seconds to be over
    verdict = asyncio.run(run(tmp_path, SECONDS, seed=1, kinds=kinds))
    assert verdict.violations == [], "\n".join(map(str, verdict.violations))
    assert set(+verdict.injected) == kinds
    assert len(verdict.history.operations) > 2_000  # the 1,000 before and the 1,000 after
