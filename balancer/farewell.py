"""The end of all connections: what clients were told last is to reach them."""

import selectors
from collections.abc import Iterable
from time import monotonic

from balancer.client_connection import ClientConnection


def part(connections: Iterable[ClientConnection], linger_s: float) -> None:
    """Wait until the clients have taken everything and hung up, for so long at the most; the
    connections are the caller's to close.

    What clients send meanwhile is read, for nobody: a connection that is closed with something
    unread is reset by the kernel, and what is on its way is lost (RFC 2525, 2.17).
    """
    ends_at = monotonic() + linger_s
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE * connection.is_stuck)
            selector.register(connection, wanted, connection)
            if not connection.is_stuck:
                connection.finish()
        while selector.get_map() and (patience_s := ends_at - monotonic()) > 0:
            for key, _ in selector.select(patience_s):
                _go_on(key.data, selector)


def _go_on(connection: ClientConnection, selector: selectors.BaseSelector) -> None:
    if connection.is_stuck:
        connection.flush()
        if not connection.is_stuck:
            selector.modify(connection, selectors.EVENT_READ, connection)
            connection.finish()
    connection.discard()
    if connection.has_ended:
        selector.unregister(connection)
