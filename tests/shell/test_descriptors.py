"""For whom the balancer's descriptors are."""

import pytest

from balancer import descriptors
from balancer.kinds import WORKERS_MAX


@pytest.mark.parametrize(
    ("all_of_them", "clients"),
    [(1 << 20, (1 << 20) - 73_792), (147_584, 73_792), (4096, 2048), (1024, 512), (20, 10)],
)
def test_clients_leave_enough_for_all_workers_or_half(all_of_them: int, clients: int) -> None:
    assert descriptors.for_clients(all_of_them) == clients


def test_there_are_some_for_each_worker_and_its_successor() -> None:
    left = 1_000_000 - descriptors.for_clients(1_000_000)
    assert left > 2 * descriptors.OF_A_WORKER * WORKERS_MAX
