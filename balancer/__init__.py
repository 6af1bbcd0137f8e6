"""A fault-tolerant balancer: requests survive the death of the worker that holds them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balancer.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # On demand: the processes of the cluster import this package and need neither zmq nor asyncio
    # to start.
    if name in __all__:
        from balancer import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
