"""Requests that arrived together, as if one had come after the other."""

from collections.abc import Iterable, Iterator

from balancer.core.events import Event, RequestsArrived


def one_by_one(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, RequestsArrived):
            yield from event.arrivals
        else:
            yield event
