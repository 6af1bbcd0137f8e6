"""Steady load while workers are killed; ``python -m tests.cluster.load`` does it for longer."""

from tests.cluster.load import run

SECONDS = 2.5


def test_every_request_is_answered_while_workers_are_killed() -> None:
    figures = run(SECONDS, freeze=False, kill_balancer=False, seed=1)
    print(figures)
    assert figures.ok == figures.requests == 250
    assert figures.killed == 4
    assert figures.percentile_s(0.5) < 0.15  # 25 ms on two quiet cores
    assert figures.percentile_s(0.9) < 0.5  # 30 ms
    assert figures.percentile_s(1.0) < 1.5  # 60 ms


def test_every_request_is_answered_while_workers_are_killed_and_one_is_frozen() -> None:
    figures = run(SECONDS, freeze=True, kill_balancer=False, seed=2)
    print(figures)
    assert figures.ok == figures.requests == 250
    assert figures.moved >= 1
    assert 1.0 < figures.percentile_s(1.0) < 4.5  # what the frozen worker held: 2 s


def test_every_call_is_answered_while_workers_are_killed_and_the_balancer_too() -> None:
    figures = run(SECONDS, freeze=False, kill_balancer=True, seed=3)
    print(figures)
    assert figures.ok == figures.requests == 250
    assert figures.percentile_s(1.0) < 3.0  # what waited for the balancer to be back: 0.5 s
