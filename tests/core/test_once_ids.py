"""A request marked ``once`` that comes again under the same id is never taken in twice."""

from balancer.core.events import OnceNamesKnown
from tests.core.story import Story, answer, leaves, request


def test_it_is_refused_while_the_first_is_open_and_after() -> None:
    story = Story("a")
    story.at(1000.0, request(1, once=True, id=b"x"))
    refused = "2 <- 409 duplicate; may have run"
    assert story.at(1000.1, request(2, "other", once=True, id=b"x")) == [refused]
    story.at(1000.2, answer("a"))
    assert story.at(1000.3, request(3, once=True, id=b"x")) == [refused.replace("2", "3", 1)]


def test_other_ids_and_requests_that_may_run_twice_are_not_meant() -> None:
    story = Story("a", "b", "c")
    story.at(1000.0, request(1, once=True, id=b"x"))
    assert story.at(1000.1, request(2, once=True, id=b"y")) == ["2 -> b (attempt 1)"]
    assert story.at(1000.2, request(3, id=b"x")) == ["3 -> c (attempt 1)"]


def test_what_certainly_did_not_run_may_come_again() -> None:
    story = Story("a")
    story.at(1000.0, request(1, "other"), request(2, once=True, id=b"x"), leaves())
    assert story.at(1000.1, request(3, once=True, id=b"x"), answer("a"))[-1] == "3 -> a (attempt 1)"


def test_the_oldest_ids_are_forgotten() -> None:
    story = Story("a", once_ids_limit=2)
    for number in (1, 2, 3):
        story.at(1000.0, request(number, once=True, id=str(number)), answer("a"))
    assert "409" in story.at(1000.1, request(4, once=True, id="2"))[0]
    assert story.at(1000.2, request(5, once=True, id="1")) == ["5 -> a (attempt 1)"]


def test_a_request_of_the_same_id_that_ends_untried_leaves_its_namesake_known() -> None:
    story = Story("a")
    story.at(1000.0, request(1, once=True, id=b"x"))
    assert story.at(1000.1, request(2, "other", id=b"x"), leaves("other")) == ["2 forgotten"]
    assert "409" in story.at(1000.2, request(3, once=True, id=b"x"))[0]


def test_one_that_was_forgotten_as_the_oldest_does_not_take_its_successor_along() -> None:
    story = Story("-a", once_ids_limit=1, revive_grace_s=10.0)
    story.at(1000.0, request(1, "other", once=True, id="1"), request(2, once=True, id="2"))
    story.at(1000.1, request(3, once=True, id="1"), leaves("other"))
    assert "409" in story.at(1000.2, request(4, once=True, id="1"))[0]


def test_what_may_have_run_before_our_time_is_refused_too() -> None:
    story = Story("a")
    assert story.at(1000.0, OnceNamesKnown((b"x", "y"))) == []
    for number, id in ((1, b"x"), (2, "y")):
        refused = f"{number} <- 409 duplicate; may have run"
        assert story.at(1000.1, request(number, once=True, id=id)) == [refused]
    assert story.at(1000.2, request(3, id=b"x")) == ["3 -> a (attempt 1)"]


def test_of_the_names_from_before_our_time_the_oldest_are_forgotten_too() -> None:
    story = Story("a", once_ids_limit=2)
    story.at(1000.0, OnceNamesKnown(("1", "2", "3")))
    assert "409" in story.at(1000.1, request(1, once=True, id="2"))[0]
    assert story.at(1000.2, request(2, once=True, id="1")) == ["2 -> a (attempt 1)"]


def test_nobody_makes_a_name_from_before_our_time_forgotten() -> None:
    story = Story("-a", revive_grace_s=10.0)
    story.at(1000.0, OnceNamesKnown((b"x",)), request(1, "other", id=b"x"), leaves("other"))
    assert "409" in story.at(1000.1, request(2, once=True, id=b"x"))[0]
