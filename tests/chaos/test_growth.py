"""A leak shows, and what is soon given back does not."""

from tests.chaos.growth import Growth

MIB = 2**20


def test_what_a_balancer_keeps_is_its_growth_since_its_own_start() -> None:
    growth = Growth()
    for mib in (10, 20, 23, 23, 33, 43, 53, 63):
        growth.note(1, mib * MIB)
        growth.note(2, 90 * MIB)
    assert growth.bytes_of(1) == (43 - 23) * MIB
    assert growth.bytes_of(2) == 0
    assert growth.largest_bytes() == 20 * MIB


def test_what_is_given_back_is_no_growth() -> None:
    growth = Growth()
    for mib in (20, 20, 23, 23, 83, 83, 23):
        growth.note(1, mib * MIB)
    assert growth.bytes_of(1) == 0


def test_who_did_not_live_for_long_did_not_grow() -> None:
    growth = Growth()
    for mib in (10, 80, 80, 80, 80):
        growth.note(1, mib * MIB)
    assert growth.bytes_of(1) == 0
    assert Growth().largest_bytes() == 0
