"""The numbers that the core decides by; every one has a defined answer when it is reached."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Durations end in ``_s``, sizes in ``_bytes``; the defaults are those of the command line."""

    deadline_s: float = 30.0
    """Total time of a request that asks for none of its own, from arrival to answer."""
    deadline_max_s: float = 300.0
    """The most that a client can ask for; a longer wish is cut to this."""
    try_timeout_s: float = 10.0
    """How long one worker may take before the request moves on."""
    try_start_min_s: float = 0.001
    """A try starts only if this much of the request's time is left to finish it."""
    queue_limit: int = 1024
    queue_limit_bytes: int = 64 * 1024 * 1024
    queue_timeout_s: float | None = None
    """The longest wait for a first worker; None leaves it to the deadline."""
    client_limit: int = 1024
    """Requests of one client that may be open at once."""
    max_body_bytes: int = 16 * 1024 * 1024
    retry_budget: float = 0.2
    """Tries after a timeout or a second death, as a share of the window's first tries."""
    retry_budget_window_s: int = 10
    retry_budget_per_worker: int = 2
    """Such tries that each worker adds to the budget of a window, so that a quiet pool has some."""
    strikes: int = 3
    """Workers that one request may kill or hang before it is stopped as poison."""
    revive_grace_s: float = 1.0
    """How long a request waits for a worker to come back when nobody else is left to ask."""
    hang_kill_after_s: float = 2.0
    """How long past its timeout a worker may hold a request before it is killed."""
    ejection_tries: int = 3
    """Garbled or timed-out tries in a row after which a worker is ejected."""
    ejection_s: float | None = 5.0
    """For how long at first; twice as long each time that no good reply came between. None: off."""
    ejection_max_s: float = 300.0
    once_ids_limit: int = 65_536
    """How many requests marked ``once`` are remembered by their id."""
    batch_max: int = 1
    """Requests that a worker may be handed in one message; with 1 each travels alone."""
    batch_budget_s: float = 0.001
    """How long a batch may take by what the pool's requests took lately. Workers that take a whole
    batch at once have no such limit."""
    batch_wait_s: float = 0.0
    """How long a request waits for others to fill the batch of a worker that takes it whole."""
    on_empty_next_pool: bool = False
    """Whether an empty reply rules out the whole pool, whose workers would say the same."""
