"""What a handler may import: ``Decline``, and ``current()`` for the request it is working on."""

from workers.handler import Current, Decline, current

__all__ = ["Current", "Decline", "current"]
