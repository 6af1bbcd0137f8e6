"""Who is let in: one client after another, as long as there is room for them."""

import math
import selectors
import socket
from collections.abc import Callable
from time import monotonic

from balancer.listener import Listener, NoDescriptors

ACCEPTED_PER_TURN = 16
NO_DESCRIPTORS_PAUSE_S = 0.1
FULL_TOLD_EVERY_S = 60.0


class Admission:
    """It listens for as long as its caller looks at the ``selector``; ``after`` calls back later.

    Who comes when ``room`` says that there is none waits outside, with the kernel, until there is;
    that it has come to this ``on_full`` is told, now and then."""

    def __init__(
        self,
        address: str,
        selector: selectors.BaseSelector,
        after: Callable[[float, Callable[[], None]], None],
        *,
        room: Callable[[], int],
        on_full: Callable[[], None],
        welcome: Callable[[socket.socket], None],
    ) -> None:
        """CannotBind if the address is taken or unusable."""
        self._selector = selector
        self._after = after
        self._room = room
        self._on_full = on_full
        self._welcome = welcome
        self._full_told_at = -math.inf
        self._listener = Listener(address)
        self.address = self._listener.address
        """Where it is bound, a wildcard port resolved."""
        self._listen()

    def _listen(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        """Let in who has come. The kernel keeps the others for the next turn."""
        room = self._room()
        try:
            if room <= 0:
                raise NoDescriptors
            for _ in range(min(room, ACCEPTED_PER_TURN)):
                accepted = self._listener.accept()
                if accepted is None:
                    return
                self._welcome(accepted)
        except NoDescriptors:
            # Clients have them, and clients leave.
            self._selector.unregister(self._listener)
            self._after(NO_DESCRIPTORS_PAUSE_S, self._listen)
            if monotonic() - self._full_told_at >= FULL_TOLD_EVERY_S:
                self._full_told_at = monotonic()
                self._on_full()

    def close(self) -> None:
        self._listener.close()
