"""The links to all workers: opened, asked when they have something to tell, closed at their end."""

import selectors
from collections.abc import Callable
from functools import partial

import zmq

from balancer.core.events import Event, Released, WorkerId, WorkerLost
from balancer.endpoints import Endpoint, Endpoints
from balancer.link import Link

NO_DESCRIPTORS_PAUSE_S = 0.5
"""Less than ``revive_grace``: descriptors may be short just when all workers are dialled."""
EXIT_GRACE_S = 0.05
"""How long after a worker's exit its connection may take to end: its last reply comes first.
Longer means that somebody else, a child of it, still holds the connection."""


class Links:
    """Their descriptors are in the ``selector``, with a callback as each key's data; what becomes
    of them is emitted. ``after`` calls back later."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        max_body_bytes: int,
        selector: selectors.BaseSelector,
        emit: Callable[[Event], None],
        after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.open: dict[WorkerId, Link] = {}
        self.endpoints = Endpoints(self._dial_endpoint, self._is_linked, after)
        self._context = context
        self._max_body_bytes = max_body_bytes
        self._selector = selector
        self._emit = emit
        self._after = after
        self._replying: list[Link] = []
        """Whose descriptor told of a reply."""
        self.touched: dict[Link, None] = {}
        """Who may have more to tell than a reply, of which no descriptor will tell."""

    # --- what they tell ---------------------------------------------------------------------------

    def take_replies(self, handle: Callable[[Event], None]) -> None:
        """Of those whose descriptor told of one; the others are for ``take_rest``."""
        links = self._replying.copy()
        self._replying.clear()
        for link in links:
            if self.open.get(link.worker) is link:  # not closed since it was seen to be ready
                event = link.read_reply()
                if event is not None:
                    handle(event)
                else:
                    self.touched[link] = None

    def take_rest(self, handle: Callable[[Event], None]) -> None:
        """What else there is. Who is lost is closed just before that is told, and not with all the
        others: what is decided for it meanwhile is refused, which its loss then tells of."""
        touched, self.touched = self.touched, {}
        for link in touched:
            if self._is_open(link):
                self._take_all(link, handle)

    def _take_all(self, link: Link, handle: Callable[[Event], None]) -> None:
        for event in link.read():
            if isinstance(event, WorkerLost):
                self._close(link)
            handle(event)
            if not self._is_open(link):
                return  # lost, or released by what was decided because of the event
        stream = link.spent_stream()
        if stream is not None:
            self._selector.unregister(stream)
            stream.close()

    def _is_open(self, link: Link) -> bool:
        return self.open.get(link.worker) is link

    # --- they are opened --------------------------------------------------------------------------

    def dial(
        self,
        worker: WorkerId,
        address: str,
        *,
        stream_path: str = "",
        is_ours: bool,
        must_ping: bool,
        beside_older: bool = False,
    ) -> None:
        """Open a link; WorkerConnected and WorkerReady follow, or WorkerLost."""
        try:
            link = Link(
                self._context,
                worker,
                address,
                stream_path=stream_path,
                is_ours=is_ours,
                must_ping=must_ping,
                beside_older=beside_older,
                max_body_bytes=self._max_body_bytes,
            )
        except zmq.ZMQError:
            # Out of descriptors, which may pass: clients have them, and clients leave.
            self._after(
                NO_DESCRIPTORS_PAUSE_S,
                lambda: self.dial(
                    worker,
                    address,
                    stream_path=stream_path,
                    is_ours=is_ours,
                    must_ping=must_ping,
                    beside_older=beside_older,
                ),
            )
            return
        self.open[worker] = link
        deaths, *replies = link.filenos()
        for descriptor in replies:
            note = partial(self._replying.append, link)
            self._selector.register(descriptor, selectors.EVENT_READ, note)
        self._selector.register(deaths, selectors.EVENT_READ, lambda: self._watch(link))
        self.touched[link] = None

    def _watch(self, link: Link) -> None:
        """Something became of it: if that was its death, nothing is sent to it in this turn."""
        link.watch()
        self.touched[link] = None

    def _dial_endpoint(self, worker: WorkerId, endpoint: Endpoint) -> None:
        self.dial(
            worker,
            endpoint.address,
            is_ours=False,
            must_ping=endpoint.probe,
            beside_older=endpoint.follows_another,
        )

    def _is_linked(self, address: str) -> bool:
        return any(link.address == address for link in self.open.values())

    # --- they end ---------------------------------------------------------------------------------

    def note_exit(self, worker: WorkerId, cause: str) -> None:
        """The launcher saw the worker's process end: its link has little time left to agree."""

        def give_up() -> None:
            link = self.open.get(worker)
            if link is not None:
                link.note_exit(cause)
                self.touched[link] = None

        self._after(EXIT_GRACE_S, give_up)

    def note_undelivered(self, worker: WorkerId, link: Link | None) -> None:
        """A task certainly never reached the worker, by this link if it has one."""
        self._emit(WorkerLost(worker, "it was gone already", undelivered=True))
        if link is not None:
            self.touched[link] = None

    def release(self, action: Released) -> None:
        """The core needs the worker no more."""
        link = self.open.get(action.worker)
        if link is not None:
            self._close(link)

    def _close(self, link: Link) -> None:
        del self.open[link.worker]
        for descriptor in link.filenos():
            self._selector.unregister(descriptor)
        link.close()
        self.endpoints.note_closed(link.worker)

    def close(self) -> None:
        """Nothing is waited for."""
        self.endpoints.clear()
        for link in list(self.open.values()):
            self._close(link)
