"""Workers: the table of their states, who is idle longest, and those that hang."""

from collections.abc import Callable

import pytest

from balancer.core.events import Event, SlotAdded, WorkerId
from balancer.core.pool import LINK, Member, Pools, Signal, State
from tests.core.story import (
    Story,
    answer,
    comes_up,
    connects,
    dies,
    empty,
    expired,
    garbled,
    leaves,
    ready,
    request,
)

# --- the table ---------------------------------------------------------------------------------


def test_every_state_can_be_reached_from_down() -> None:
    reached = {State.DOWN}
    for _ in State:
        reached |= {end for (start, _), end in LINK.items() if start in reached}
    assert reached == set(State)


def test_every_signal_moves_something() -> None:
    assert {signal for _, signal in LINK} == set(Signal)


def test_a_worker_can_be_lost_in_every_state_but_down() -> None:
    losable = {start for (start, signal), _ in LINK.items() if signal is Signal.LOST}
    assert losable == set(State) - {State.DOWN}


def pools_of(*slots: str) -> Pools:
    pools = Pools(iter(["echo"]))
    for slot in slots:
        pools.add(slot, "echo")
    return pools


def up(pools: Pools, slot: str) -> Member:
    member = pools.in_slot(WorkerId(slot, 1))
    assert member is not None
    pools.fill(member, WorkerId(slot, 1))
    pools.move(member, Signal.CONNECTED)
    pools.move(member, Signal.READY)
    return member


def test_an_illegal_move_crashes() -> None:
    pools = pools_of("a")
    member = up(pools, "a")
    for signal in (Signal.CONNECTED, Signal.READY, Signal.REPLIED, Signal.TIMED_OUT):
        with pytest.raises(KeyError):
            pools.move(member, signal)


def test_a_pool_knows_who_became_idle_last_and_how_many_serve() -> None:
    pools = pools_of("a", "b", "c")
    a, b = up(pools, "a"), up(pools, "b")
    (pool,) = pools
    assert (list(pool.idle), pool.serving, pools.serving(), len(pools)) == (["b", "a"], 2, 2, 3)
    pools.move(a, Signal.FORWARDED)
    assert (list(pool.idle), pool.serving) == (["b"], 2)
    pools.move(a, Signal.REPLIED)
    assert list(pool.idle) == ["b", "a"]
    pools.move(b, Signal.FORWARDED)
    pools.move(b, Signal.TIMED_OUT)
    assert (list(pool.idle), pool.serving) == (["a"], 1)
    pools.move(a, Signal.LOST)
    assert (list(pool.idle), pool.serving) == ([], 0)


def test_a_worker_is_found_by_its_incarnation_alone() -> None:
    pools = pools_of("a")
    assert pools.find(WorkerId("a", 0)) is None
    member = up(pools, "a")
    assert pools.find(WorkerId("a", 1)) is member
    assert pools.find(WorkerId("a", 2)) is None
    assert pools.find(WorkerId("b", 1)) is None
    pools.move(member, Signal.LOST)
    assert pools.find(WorkerId("a", 1)) is None


def test_only_a_newer_incarnation_finds_its_slot_open() -> None:
    pools = pools_of("a")
    member = up(pools, "a")
    assert pools.in_slot(WorkerId("a", 1)) is None
    assert pools.in_slot(WorkerId("a", 2)) is member
    assert pools.in_slot(WorkerId("b", 2)) is None
    pools.stand_beside(WorkerId("a", 3), member)
    assert pools.in_slot(WorkerId("a", 3)) is None
    assert pools.in_slot(WorkerId("a", 4)) is member


def test_a_removed_slot_is_out_of_every_count() -> None:
    pools = pools_of("a", "b")
    member = up(pools, "a")
    assert pools.remove("a") == [member]
    assert pools.remove("a") == []
    pools.move(member, Signal.LOST)
    (pool,) = pools
    assert (list(pool.idle), list(pool.members), pool.serving) == ([], ["b"], 0)
    assert [member.slot for member in pools.members()] == ["b"]


def test_adding_a_slot_twice_keeps_the_worker_in_it() -> None:
    pools = pools_of("a")
    member = up(pools, "a")
    pools.add("a", "echo")
    assert pools.find(WorkerId("a", 1)) is member


def test_pools_have_their_place_in_the_sweep() -> None:
    assert [pool.name for pool in Pools(iter(["y", "x"]))] == ["y", "x"]


def test_the_pools_tell_who_does_what() -> None:
    story = Story("a", "b", "-c")
    story.at(1000.0, request(1))
    assert repr(story.core.pools) == "a#1 busy on 1, b#1 idle, c#0 down"


# --- coming into rotation ----------------------------------------------------------------------


def test_a_worker_gets_nothing_before_it_is_ready() -> None:
    story = Story("-a")
    assert story.at(1000.0, request(1), connects("a")) == []
    assert story.at(1000.5, ready("a")) == ["1 -> a (attempt 1)"]


def test_a_worker_that_connects_and_never_gets_ready_is_killed() -> None:
    story = Story("-a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, connects("a"))
    assert story.at(1011.999) == []
    assert story.at(1012.0) == ["kill a"]


def test_a_worker_that_got_ready_or_died_is_not_killed_for_its_start() -> None:
    story = Story("-a", "-b", "-c")
    story.at(1000.0, connects("a"), connects("b"))
    story.at(1000.5, ready("a"), dies("b"))
    assert story.at(1100.0) == []


# --- overdue workers ---------------------------------------------------------------------------


def overdue_story(*workers: str) -> Story:
    """Request 1 timed out at a and is being tried at b; a is killed at 1004."""
    story = Story(*workers, try_timeout_s=1.0, hang_kill_after_s=3.0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    return story


def test_an_overdue_worker_gets_nothing_new() -> None:
    story = overdue_story("a", "b")
    assert story.at(1001.1, request(2)) == []


def test_a_late_answer_wins_while_the_request_is_tried_elsewhere() -> None:
    story = overdue_story("a", "b")
    assert story.at(1001.5, answer("a", value=b"\x07")) == [
        "1 <- 200 from a after 2 attempts; a timeout"
    ]
    assert story.answer().reply.value == b"\x07"
    assert story.at(1001.6, answer("b")) == ["reply of b to 1 dropped"]


def test_a_late_error_of_the_handler_is_an_answer_too() -> None:
    story = overdue_story("a", "b")
    assert story.at(1001.5, answer("a", status=500)) == [
        "1 <- 500 from a after 2 attempts; a timeout"
    ]


def test_a_late_answer_wins_while_the_request_is_queued() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1))
    story.at(1000.5, request(2))
    assert story.at(1001.0) == []
    assert story.at(1001.2, answer("a")) == ["1 <- 200 from a after 1 attempt; a timeout"]
    assert len(story.core.queue) == 0
    assert story.at(1001.3, answer("b")) == ["2 <- 200 from b"]


@pytest.mark.parametrize("reply", [empty, garbled, expired])
def test_a_late_reply_without_an_answer_is_dropped(reply: Callable[[str], Event]) -> None:
    story = overdue_story("a", "b")
    assert story.at(1001.5, reply("a")) == ["reply of a to 1 dropped"]
    assert story.at(1001.6, answer("b")) == ["1 <- 200 from b after 2 attempts; a timeout"]


def test_a_late_reply_after_the_request_is_over_is_dropped() -> None:
    story = overdue_story("a", "b")
    story.at(1001.5, answer("b"))
    assert story.at(1001.6, answer("a")) == ["reply of a to 1 dropped"]


@pytest.mark.parametrize("reply", [answer, empty, garbled])
def test_a_late_reply_frees_its_worker_for_those_who_wait(reply: Callable[[str], Event]) -> None:
    story = overdue_story("a", "b")
    assert story.at(1001.1, request(2)) == []
    assert story.at(1001.5, reply("a"))[-1] == "2 -> a (attempt 1)"
    assert story.at(1001.6, answer("a")) == ["2 <- 200 from a"]


def test_a_request_waits_for_a_worker_that_is_overdue_on_another() -> None:
    story = Story("a", try_timeout_s=1.0, revive_grace_s=0.1, hang_kill_after_s=9.0)
    story.at(1000.0, request(1), request(2))
    assert story.at(1001.0) == [
        "1 <- 503 exhausted after 1 attempt; a timeout; may have run",
    ]
    assert story.at(1005.0) == []
    assert story.at(1005.1, answer("a")) == ["reply of a to 1 dropped", "2 -> a (attempt 1)"]


# --- hanging workers are killed ----------------------------------------------------------------


def test_a_silent_worker_is_killed_a_while_after_its_timeout() -> None:
    story = overdue_story("a", "b")
    story.at(1001.5, answer("b"))
    assert story.at(1003.999) == []
    assert story.at(1004.0) == ["kill a for 1"]
    assert story.at(1100.0) == []


def test_a_worker_that_replied_late_is_not_killed() -> None:
    story = overdue_story("a", "b")
    story.at(1001.5, answer("b"))
    story.at(1003.9, answer("a"))
    assert story.at(1100.0) == []


def test_a_worker_that_died_meanwhile_is_not_killed() -> None:
    story = overdue_story("a", "b")
    story.at(1001.5, answer("b"), dies("a"), *comes_up("a#2"))
    assert story.at(1100.0) == []


def test_an_impatient_client_does_not_get_a_healthy_worker_killed() -> None:
    story = Story("a", "b", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1, try_timeout_s=0.1))
    assert story.at(1000.1) == ["1 -> b (attempt 2)"]
    story.at(1000.15, answer("b"))
    assert story.at(1011.999) == []
    assert story.at(1012.0) == ["kill a for 1"]


def test_a_patient_client_gets_its_longer_try() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1, try_timeout_s=5.0))
    assert story.at(1004.999) == []
    assert story.at(1005.0) == ["1 -> b (attempt 2)"]
    assert story.at(1006.999, answer("b"))[0] == "1 <- 200 from b after 2 attempts; a timeout"
    assert story.at(1007.0) == ["kill a for 1"]


def test_a_wish_for_endless_tries_holds_a_worker_no_longer_than_the_request_lives() -> None:
    story = Story("a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1, try_timeout_s=1e9, timeout_s=20.0))
    assert story.at(1020.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]
    assert story.at(1021.999) == []
    assert story.at(1022.0) == ["kill a for 1"]


def test_a_worker_that_hangs_past_its_requests_deadline_is_killed_all_the_same() -> None:
    story = Story("a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1, timeout_s=1.0))
    assert story.at(1001.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]
    assert story.at(1011.999) == []
    assert story.at(1012.0) == ["kill a for 1"]


def test_a_worker_whose_client_left_is_killed_when_it_hangs() -> None:
    story = Story("a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1))
    assert story.at(1001.0, leaves()) == ["1 forgotten"]
    assert story.at(1012.0) == ["kill a for 1"]


def test_a_worker_that_is_about_to_be_killed_gets_nothing_new_even_if_it_replies() -> None:
    story = overdue_story("a", "b")
    story.at(1001.5, answer("b"))
    assert story.at(1004.0, request(2), request(3)) == ["2 -> b (attempt 1)", "kill a for 1"]
    assert story.at(1004.1, answer("a")) == []
    assert story.at(1004.2, answer("b")) == ["2 <- 200 from b", "3 -> b (attempt 1)"]
    assert story.at(1004.3, dies("a"), *comes_up("a#2"), request(4)) == ["4 -> a#2 (attempt 1)"]


def test_a_worker_that_is_not_ours_is_never_killed_and_its_late_reply_frees_it() -> None:
    story = Story(try_timeout_s=1.0, hang_kill_after_s=3.0, pools={"static": ""})
    story.at(1000.0, SlotAdded("a", "static", is_ours=False), *comes_up("a"))
    story.at(1000.0, request(1))
    story.at(1001.0)
    assert story.at(1100.0) == []
    assert story.at(1100.1, answer("a"), request(2))[-1] == "2 -> a (attempt 1)"


def test_a_pause_of_the_balancer_is_not_counted_to_the_worker() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1))
    story.core.expire(1004.0)
    assert story.at(1004.1, answer("a")) == ["1 <- 200 from a after 2 attempts; a timeout"]
    story.at(1004.1, answer("b"))
    assert story.at(1100.0) == []
