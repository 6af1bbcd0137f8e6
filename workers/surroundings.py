"""What the workers need of the launcher, in one hand."""

from collections.abc import Callable
from dataclasses import dataclass

from balancer.config import Config
from balancer.control import Message
from balancer.runtime_directory import RuntimeDirectory
from workers.console import Console
from workers.loop import Loop


@dataclass(slots=True)
class Surroundings:
    """Shared by all slots and processes. Only a reload changes it."""

    loop: Loop
    console: Console
    config: Config
    """The newest: processes started from now on follow it."""
    directory: RuntimeDirectory
    tell_balancer: Callable[[Message], None]
