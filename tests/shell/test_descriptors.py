"""For whom the balancer's descriptors are."""

import pytest

from balancer import descriptors


@pytest.mark.parametrize(
    ("all_of_them", "workers", "clients"),
    [
        (1 << 20, 4, (1 << 20) - 4672),
        (1 << 20, 1000, (1 << 20) - 18_064),
        (9344, 4, 4672),
        (4096, 4, 2048),
        (20, 4, 10),
    ],
)
def test_clients_leave_enough_for_workers_and_their_successors_or_half(
    all_of_them: int, workers: int, clients: int
) -> None:
    assert descriptors.for_clients(all_of_them, workers) == clients
