"""What has happened lately is kept, requests apart from the rest, and told to whoever follows."""

from workers.feed import EVENTS_MAX, Feed, Record


def event(text: str, kind: str = "ready") -> Record:
    return {"event": kind, "text": text}


def texts(records: list[Record]) -> list[str]:
    return [record["text"] for record in records]


def test_the_latest_come_in_their_order_whatever_they_are_about() -> None:
    feed = Feed()
    for number in range(3):
        feed.publish(event(f"worker {number}"))
        feed.publish(event(f"request {number}", "refused"))
    assert texts(feed.latest(3)) == ["request 1", "worker 2", "request 2"]
    assert len(feed.latest(100)) == 6
    assert feed.latest(0) == []


def test_what_has_no_name_is_kept_and_told_like_anything_else() -> None:
    feed, told = Feed(), list[Record]()
    feed.follow(told.append)
    feed.publish({"text": "of a balancer that knows no better"})
    assert feed.latest(1) == told == [{"text": "of a balancer that knows no better"}]


def test_a_storm_of_requests_washes_away_no_death() -> None:
    feed = Feed()
    feed.publish(event("death", "died"))
    for number in range(2 * EVENTS_MAX):
        feed.publish(event(str(number), "try_failed"))
    latest = texts(feed.latest(10 * EVENTS_MAX))
    assert len(latest) == EVENTS_MAX + 1
    assert (latest[0], latest[-1]) == ("death", str(2 * EVENTS_MAX - 1))


def test_followers_hear_what_comes_and_the_first_and_last_of_them_are_told_of() -> None:
    feed, told = Feed(), list[str]()
    first, second = list[Record](), list[Record]()
    feed.on_watched = lambda: told.append("watched" if feed.is_watched else "unwatched")
    feed.publish(event("before"))
    feed.follow(first.append)
    feed.follow(second.append)
    feed.publish(event("both"))
    feed.leave(first.append)
    feed.publish(event("second"))
    assert told == ["watched"]
    feed.leave(second.append)
    feed.leave(second.append)
    feed.publish(event("nobody"))
    assert (texts(first), texts(second)) == (["both"], ["both", "second"])
    assert told == ["watched", "unwatched"]


def test_a_follower_may_leave_while_it_is_told() -> None:
    feed, heard = Feed(), list[Record]()

    def leave_at_once(record: Record) -> None:
        feed.leave(leave_at_once)

    feed.follow(leave_at_once)
    feed.follow(heard.append)
    feed.publish(event("news"))
    assert texts(heard) == ["news"]
