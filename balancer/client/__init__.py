"""Ask a balancer; get the answer or a typed error. ``Client``, ``AsyncClient``, a command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balancer.client.asynchronous import AsyncClient
    from balancer.client.blocking import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # Importing asyncio takes longer than all the rest, and most programs do without.
    if name == "AsyncClient":
        from balancer.client.asynchronous import AsyncClient

        return AsyncClient
    if name == "Client":
        from balancer.client.blocking import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
