"""How many file descriptors the balancer's process has, and for whom they are."""

import resource

OF_A_WORKER = 9
_OF_EVERYTHING_ELSE = 64
WORKERS_MIN = 256
"""There may be more workers later than now."""


def raise_limit() -> int:
    """Take all that we are allowed; how many they are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def for_clients(all_of_them: int, workers: int) -> int:
    """How many clients may have one, so that there are some for so many workers, and twice as many
    during a reload: without, none that died could come back before clients leave. Where there are
    few, clients have half."""
    for_workers = 2 * OF_A_WORKER * max(workers, WORKERS_MIN)
    return max(all_of_them - for_workers - _OF_EVERYTHING_ELSE, all_of_them // 2)
