"""The one connection to the cluster, dialed again whenever it is lost."""

import selectors
from collections.abc import Callable

from balancer.control import Channel, Message, NotRunning, connect
from balancer.top.model import EVENTS_MAX, Model, Order


class Contact:
    """Tells the model what comes. Never waits, and never asks twice for what is still owed."""

    def __init__(
        self, model: Model, selector: selectors.BaseSelector, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._selector = selector
        self._clock = clock
        self._channel: Channel | None = None

    def ask(self) -> None:
        """Ask for the status, or try to reach the cluster."""
        if self._channel is None:
            self._dial()
        if self._channel is not None and not self._model.is_waiting:
            self._model.note_asked(self._clock())
            self._channel.send({"op": "status"})

    def give(self, order: Order) -> None:
        if self._channel is not None:
            self._channel.send(order.question)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _dial(self) -> None:
        try:
            connection = connect(self._model.name, timeout_s=0.0)
        except NotRunning as error:
            if isinstance(error.__cause__, TimeoutError):
                self._model.note_asked(self._clock())  # it is there, but takes in nobody
            else:
                self._model.note_gone(self._clock())
            return
        self._channel = Channel(connection, self._selector, self._on_message, self._on_close)
        self._model.note_connected()
        self._channel.send({"op": "events", "last": EVENTS_MAX, "follow": True})

    def _on_message(self, message: Message) -> None:
        self._model.note_message(self._clock(), message)

    def _on_close(self) -> None:
        self._channel = None
        self._model.note_gone(self._clock())
