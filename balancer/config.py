"""What the cluster is to be: read from file, environment and command line, checked, handed on."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from balancer.core.limits import Limits
from balancer.durations import format_duration_s
from balancer.kinds import DURATION_MIN_S, HANDLER, WORKERS_MAX
from balancer.options import OPTIONS
from balancer.sources import ConfigError, read_all, read_file, read_texts

DEMO = ("workers.demo:server1", "workers.demo:server2", "workers.demo:server3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The workers of one handler, or static endpoints that are nobody's children."""

    name: str
    handler: str | None
    workers: int = 0
    endpoints: tuple[str, ...] = ()
    probe: bool = False
    """Whether static endpoints are pinged before use."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the places for its workers."""
        places = len(self.endpoints) if self.handler is None else self.workers
        return tuple(f"{self.name}-{number}" for number in range(1, places + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the launcher and the balancer must know; ``load`` checks, this does not."""

    name: str = "default"
    bind: str = "tcp://127.0.0.1:5555"
    pools: tuple[Pool, ...] = ()
    limits: Limits = field(default_factory=Limits)
    startup_timeout_s: float = 120.0
    drain_timeout_s: float = 25.0
    restart: bool = True
    max_requests: int | None = None
    max_rss_bytes: int | None = None
    log_format: str = "text"
    access_log: bool = False
    dashboard: str | None = None
    """HOST:PORT of the page, if there is to be one."""
    dashboard_admin: bool = False

    def worker_slots(self) -> list[tuple[str, str, str]]:
        """Name, pool and handler of every place for a worker process of ours."""
        return [
            (slot, pool.name, pool.handler)
            for pool in self.pools
            if pool.handler is not None
            for slot in pool.slots
        ]


def to_json(config: Config) -> dict[str, Any]:
    """Only what JSON knows; ``from_json`` gives back an equal configuration."""
    return asdict(config)


def from_json(data: Mapping[str, Any]) -> Config:
    pools = tuple(Pool(**pool | {"endpoints": tuple(pool["endpoints"])}) for pool in data["pools"])
    return Config(**dict(data) | {"pools": pools, "limits": Limits(**data["limits"])})


def to_toml(config: Config) -> str:
    """Text for a file that ``--config`` reads as the same configuration."""
    import json

    # Strings are printable, so JSON's way to write them is TOML's too.
    def quote(value: str | tuple[str, ...]) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = []
    for option in OPTIONS:
        if option.field:
            owner = config if hasattr(config, option.field) else config.limits
            text = option.kind.write(getattr(owner, option.field))
            lines.append(f"{option.name} = {text if option.kind.is_bare else quote(text)}")
    for pool in config.pools:
        lines += ["", "[[pool]]", f"name = {quote(pool.name)}"]
        if pool.handler is not None:
            lines += [f"handler = {quote(pool.handler)}", f"workers = {pool.workers}"]
        else:
            lines += [f"endpoints = {quote(pool.endpoints)}", f"probe = {str(pool.probe).lower()}"]
    return "\n".join(lines) + "\n"


def load(flags: Mapping[str, str], handlers: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The checked configuration; ``flags`` has the texts given on the command line by option name.

    The command line wins over the environment, that over the file. Handlers replace all pools
    of a weaker source. ConfigError if anything cannot work.
    """
    file = read_file(flags, environ)
    stronger = read_texts(flags, environ)
    words = read_all(HANDLER, handlers, "HANDLER") or read_all(
        HANDLER, environ.get("CLUSTER_HANDLERS", "").split(), "CLUSTER_HANDLERS"
    )
    drafts = [{"handler": word} for word in words] or file.pools
    settings = {**file.settings, **stronger}
    config = Config(
        pools=_pools(drafts, stronger.get("workers"), settings),
        limits=_limits(settings),
        **_chosen(settings, Config),
    )
    _check_times(config.limits)
    _check_pools(config)
    return config


def load_name(flags: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The name of the cluster that a command talks to, from the same sources as ``load``."""
    settings = {**read_file(flags, environ).settings, **read_texts(flags, environ)}
    return str(settings.get("name", "default"))


# --- what follows from them -------------------------------------------------------------------


def _chosen(settings: Mapping[str, Any], owner: type[Config] | type[Limits]) -> dict[str, Any]:
    """The settings that are fields of ``owner``."""
    known = {field.name for field in fields(owner)}
    return {o.field: settings[o.name] for o in OPTIONS if o.name in settings and o.field in known}


def _limits(settings: Mapping[str, Any]) -> Limits:
    chosen, default = _chosen(settings, Limits), Limits()
    deadline_s = chosen.get("deadline_s", default.deadline_s)
    # Who asks only for a short deadline must not have to know of the other option.
    if deadline_s <= default.try_timeout_s:
        chosen.setdefault("try_timeout_s", max(deadline_s / 3, DURATION_MIN_S))
    try_timeout_s = chosen.get("try_timeout_s", default.try_timeout_s)
    chosen.setdefault("hang_kill_after_s", max(try_timeout_s / 5, DURATION_MIN_S))
    return Limits(**chosen)


def _pools(
    drafts: Sequence[Mapping[str, Any]], workers: int | None, settings: Mapping[str, Any]
) -> tuple[Pool, ...]:
    """``workers`` comes from a stronger source than the file, so it outranks a pool's own."""
    is_alone = sum("handler" in draft for draft in drafts) == 1
    default = settings.get("workers") or (usable_cpus() if is_alone else 1)
    drafts = drafts or [{"handler": handler} for handler in DEMO]
    pools = []
    for draft, name in zip(drafts, _names(drafts), strict=True):
        own = {"workers": workers or draft.get("workers", default)} if "handler" in draft else {}
        pools.append(Pool(**{"handler": None, **draft, "name": name, **own}))
    return tuple(pools)


def _names(drafts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each draft's own name, or one made of its handler's attribute that nobody else has."""
    counts = Counter(draft["name"] for draft in drafts if "name" in draft)
    for name, count in counts.items():
        if count > 1:
            raise ConfigError(f"two pools are called {name!r}; give each a name of its own")
    taken = set(counts)
    for draft in drafts:
        name = draft.get("name") or _free_name(draft.get("handler", ":static"), taken)
        taken.add(name)
        yield name


def _free_name(handler: str, taken: set[str]) -> str:
    attribute = handler.rpartition(":")[2].rpartition(".")[2]
    # Python allows more letters, and more of them, than a pool's name may have.
    base = "".join(c if c.isascii() else "_" for c in attribute)[:27]
    numbered = (f"{base}_{number}" for number in range(2, WORKERS_MAX))
    return base if base not in taken else next(name for name in numbered if name not in taken)


def usable_cpus(cpu_max_path: str = "/sys/fs/cgroup/cpu.max") -> int:
    """CPUs that this process may use: its affinity, and the container's quota rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(cpu_max_path, encoding="ascii") as file:
            quota, period = file.read().split()
            return cpus if quota == "max" else max(1, min(cpus, -(-int(quota) // int(period))))
    # No file: no container with a quota. Anything else in it: not a kernel that we know.
    except (OSError, ValueError, ZeroDivisionError):
        return cpus


def _check_times(limits: Limits) -> None:
    try_timeout = format_duration_s(limits.try_timeout_s)
    deadline, longest = map(format_duration_s, (limits.deadline_s, limits.deadline_max_s))
    if limits.try_timeout_s >= limits.deadline_s:
        raise ConfigError(
            f"try_timeout ({try_timeout}) must be shorter than deadline ({deadline}): "
            "raise --deadline or lower --try-timeout"
        )
    if limits.deadline_s > limits.deadline_max_s:
        raise ConfigError(
            f"deadline ({deadline}) must not be longer than deadline_max ({longest}): "
            "raise --deadline-max or lower --deadline"
        )
    if limits.batch_wait_s and limits.batch_max == 1:
        raise ConfigError("batch_wait is of no use while batch_max is 1: give --batch-max, too")
    if limits.batch_wait_s >= limits.deadline_s:
        batch_wait = format_duration_s(limits.batch_wait_s)
        raise ConfigError(
            f"batch_wait ({batch_wait}) must be shorter than deadline ({deadline}): "
            "lower --batch-wait"
        )


def _check_pools(config: Config) -> None:
    total = sum(pool.workers + len(pool.endpoints) for pool in config.pools)
    if total > WORKERS_MAX:
        raise ConfigError(f"{total} workers are too many: lower --workers to {WORKERS_MAX} in all")
    endpoints = Counter(endpoint for pool in config.pools for endpoint in pool.endpoints)
    for endpoint, count in endpoints.items():
        if count > 1:
            raise ConfigError(f"the endpoint {endpoint} is named twice: name each worker once")
        if endpoint == config.bind:
            raise ConfigError(f"the endpoint {endpoint} is the cluster's own: change --bind")
