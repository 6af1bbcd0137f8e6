"""The one table of options: flags, environment, TOML file and help text all follow it."""

from typing import Any, NamedTuple

from balancer.core.limits import Limits
from balancer.kinds import (
    ADDRESS,
    BATCH,
    COUNT,
    DURATION,
    DURATION_OR_ZERO,
    FILE,
    NAME,
    SHARE,
    SIZE,
    SWITCH,
    WEB_ADDRESS,
    WORKERS,
    Kind,
    choice,
    or_off,
)

VARIABLE_PREFIX = "CLUSTER_"


class Option(NamedTuple):
    """``field`` is where the value lives in ``Config`` or its ``Limits``, if it does."""

    name: str
    kind: Kind
    group: str
    help: str
    field: str = ""
    default: Any = None
    default_text: str = ""
    """For people, where the default is not simply a value."""
    short_flag: str = ""
    in_file: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def shown_default(self) -> str:
        return self.default_text or self.kind.write(self.default)


_LIMITS = Limits()
CLUSTER, TIME, FAILOVER, BATCHES, BOUNDS = "cluster", "time", "failover", "batches", "limits"


def _limit(name: str, kind: Kind, group: str, field: str, help: str, shown: str = "") -> Option:
    """An option whose field and default are those of ``Limits``."""
    return Option(
        name=name,
        kind=kind,
        group=group,
        help=help,
        field=field,
        default=getattr(_LIMITS, field),
        default_text=shown,
    )


OPTIONS: tuple[Option, ...] = (
    Option(
        name="config",
        kind=FILE,
        group=CLUSTER,
        help="read options and pools from this TOML file",
        default_text="none",
        in_file=False,
    ),
    Option(
        name="name",
        kind=NAME,
        group=CLUSTER,
        help="what status and stop call this cluster; one machine may run several",
        field="name",
        default="default",
    ),
    Option(
        name="bind",
        kind=ADDRESS,
        group=CLUSTER,
        help="where clients connect: tcp on loopback, or ipc",
        field="bind",
        default="tcp://127.0.0.1:5555",
    ),
    Option(
        name="workers",
        kind=WORKERS,
        group=CLUSTER,
        help="worker processes of each pool",
        default_text="usable CPUs for one handler; 1 each for several, and for the demo",
        short_flag="-w",
    ),
    Option(
        name="restart",
        kind=SWITCH,
        group=CLUSTER,
        help="start a new worker in place of one that died",
        field="restart",
        default=True,
    ),
    Option(
        name="max_requests",
        kind=or_off(COUNT),
        group=CLUSTER,
        help="requests after which a worker, serving on, is replaced, or up to 20 % before",
        field="max_requests",
    ),
    Option(
        name="max_rss",
        kind=or_off(SIZE),
        group=CLUSTER,
        help="resident memory above which a worker, serving on, is replaced",
        field="max_rss_bytes",
    ),
    Option(
        name="log_format",
        kind=choice({"text": "text", "json": "json"}),
        group=CLUSTER,
        help="log lines for people or for machines",
        field="log_format",
        default="text",
    ),
    Option(
        name="access_log",
        kind=SWITCH,
        group=CLUSTER,
        help="write a line for each request that is over, with all its tries",
        field="access_log",
        default=False,
    ),
    Option(
        name="dashboard",
        kind=or_off(WEB_ADDRESS),
        group=CLUSTER,
        help="serve a page and metrics about the cluster there, on loopback",
        field="dashboard",
    ),
    Option(
        name="dashboard_admin",
        kind=SWITCH,
        group=CLUSTER,
        help="give the page buttons, for who knows the token that the log tells where to find",
        field="dashboard_admin",
        default=False,
    ),
    Option(
        name="startup_timeout",
        kind=DURATION,
        group=TIME,
        help="how long a worker may take to import its handler and become ready",
        field="startup_timeout_s",
        default=120.0,
    ),
    Option(
        name="drain_timeout",
        kind=DURATION_OR_ZERO,
        group=TIME,
        help="how long open requests may still run when the cluster stops",
        field="drain_timeout_s",
        default=25.0,
    ),
    _limit(
        "deadline", DURATION, TIME, "deadline_s", "total time of a request, from arrival to answer"
    ),
    _limit(
        "deadline_max",
        DURATION,
        TIME,
        "deadline_max_s",
        "the longest deadline that a client may ask for",
    ),
    _limit(
        "try_timeout",
        DURATION,
        TIME,
        "try_timeout_s",
        "how long one worker may take before the request moves to the next",
        "10s, or a third of a deadline of 10s or less",
    ),
    _limit(
        "queue_timeout",
        or_off(DURATION),
        TIME,
        "queue_timeout_s",
        "the longest wait for a first worker; off leaves it to the deadline",
    ),
    _limit(
        "ejection",
        or_off(DURATION),
        FAILOVER,
        "ejection_s",
        "how long a worker that failed 3 tries in a row is out of rotation at first",
    ),
    _limit(
        "hang_kill_after",
        DURATION,
        FAILOVER,
        "hang_kill_after_s",
        "how long past its timeout a worker may hold a request before it is killed",
        "a fifth of try_timeout",
    ),
    _limit(
        "revive_grace",
        DURATION_OR_ZERO,
        FAILOVER,
        "revive_grace_s",
        "how long a request with nobody left to ask waits for a worker to come back",
    ),
    _limit(
        "strikes",
        COUNT,
        FAILOVER,
        "strikes",
        "workers that one request may kill or hang before it is stopped",
    ),
    _limit(
        "retry_budget",
        SHARE,
        FAILOVER,
        "retry_budget",
        "tries after a timeout or a second death, as a share of first tries",
    ),
    _limit(
        "on_empty",
        choice({"next_worker": False, "next_pool": True}),
        FAILOVER,
        "on_empty_next_pool",
        "who is asked after an empty reply: any other worker, or only other pools",
    ),
    _limit(
        "batch_max",
        BATCH,
        BATCHES,
        "batch_max",
        "requests that a free worker may be handed in one message; 1 is one at a time",
    ),
    _limit(
        "batch_budget",
        DURATION,
        BATCHES,
        "batch_budget_s",
        "how long a batch may take, by what requests took lately; a handler's batch() has no limit",
    ),
    _limit(
        "batch_wait",
        DURATION_OR_ZERO,
        BATCHES,
        "batch_wait_s",
        "how long a request waits for others to fill a batch for a handler with batch()",
    ),
    _limit("queue_limit", COUNT, BOUNDS, "queue_limit", "requests that may wait for a worker"),
    _limit(
        "queue_limit_bytes", SIZE, BOUNDS, "queue_limit_bytes", "total size of waiting requests"
    ),
    _limit(
        "client_limit",
        COUNT,
        BOUNDS,
        "client_limit",
        "requests that one client may have open at once",
    ),
    _limit("max_body", SIZE, BOUNDS, "max_body_bytes", "largest request or reply"),
)
