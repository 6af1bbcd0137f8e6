"""The checker finds a bug that was put into a real cluster; all of them by ``--sabotage all``."""

import shutil
from pathlib import Path

import pytest

from tests.chaos.sabotage import SABOTAGES, apply, play
from tests.cluster.running import PROJECT


def test_every_check_has_a_bug_to_find() -> None:
    assert {s.check for s in SABOTAGES.values()} == {f"C{n}" for n in range(1, 14)}


@pytest.mark.parametrize("name", SABOTAGES)
def test_every_bug_still_fits_into_the_code(name: str, tmp_path: Path) -> None:
    for part in ("balancer", "workers", "tests/chaos"):
        shutil.copytree(PROJECT / part, tmp_path / part)
    apply(SABOTAGES[name], tmp_path)


def test_a_bug_in_the_cluster_is_found_by_what_clients_saw() -> None:
    is_found, output = play("swapped-envelopes", seconds=1.0)
    assert is_found, output
