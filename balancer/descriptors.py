"""How many file descriptors the balancer's process has, and for whom they are."""

import resource

from balancer.kinds import WORKERS_MAX

OF_A_WORKER = 9
_FOR_ALL_BUT_CLIENTS = 64 + 2 * OF_A_WORKER * WORKERS_MAX
"""During a reload there are twice as many workers."""


def raise_limit() -> int:
    """Take all that we are allowed; how many they are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def for_clients(all_of_them: int) -> int:
    """How many clients may have one, so that there are some for workers at any time: without, none
    that died could come back before clients leave. Where there are few, clients have half."""
    return max(all_of_them - _FOR_ALL_BUT_CLIENTS, all_of_them // 2)
