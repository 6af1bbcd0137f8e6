"""A new configuration for a running cluster: read, compared, its handlers tried, then handed on."""

from collections.abc import Callable

from balancer.config import Config
from balancer.sources import ConfigError
from workers.check import Finding, HandlersCheck
from workers.console import Console
from workers.loop import Loop


class Reload:
    """Whatever is wrong, nothing has happened but a line in the log. ``apply`` gets what is right.

    The caller calls ``reap`` on every SIGCHLD.
    """

    def __init__(
        self,
        loop: Loop,
        console: Console,
        read: Callable[[], Config],
        current: Callable[[], Config],
        apply: Callable[[Config], None],
    ) -> None:
        """``read`` raises ConfigError; ``current`` is what the cluster follows now."""
        self._loop = loop
        self._console = console
        self._read = read
        self._current = current
        self._apply = apply
        self._check: HandlersCheck | None = None
        self._is_asked_again = False

    @property
    def pids(self) -> set[int]:
        """Of processes that may not have been reaped."""
        return self._check.pids if self._check is not None else set()

    @property
    def is_over(self) -> bool:
        """No process of it is left."""
        return self._check is None or self._check.is_over

    def ask(self) -> None:
        """Begin, or begin again as soon as what is being tried now is settled."""
        if self._check is not None:
            self._is_asked_again = True
            return
        try:
            config = self._read()
            refuse_what_cannot_change(self._current(), config)
        except ConfigError as error:
            self._refuse(str(error))
            return
        handlers = [pool.handler for pool in config.pools if pool.handler is not None]
        self._check = HandlersCheck(
            self._loop,
            handlers,
            config.startup_timeout_s,
            lambda findings: self._conclude(config, findings),
        )
        self._check.start()

    def reap(self) -> None:
        if self._check is not None:
            self._check.reap()

    def stop(self) -> None:
        """Give up what is under way."""
        self._is_asked_again = False
        if self._check is not None:
            self._check.kill()

    def _conclude(self, config: Config, findings: list[Finding]) -> None:
        self._check = None
        if self._is_asked_again:
            self._is_asked_again = False
            self.ask()
            return
        trouble = next((finding for finding in findings if not finding.is_ok), None)
        if trouble is not None:
            why = trouble.error.removeprefix(f"{trouble.handler}: ")
            self._refuse(f"{trouble.handler}: {why}", trouble.traceback)
            return
        self._apply(config)

    def _refuse(self, why: str, traceback: str = "") -> None:
        text = f"reload refused, the old configuration stays: {why}"
        if traceback:
            text += f"\n{traceback.rstrip()}"
        self._console.write("cluster", text, "error")


def refuse_what_cannot_change(old: Config, new: Config) -> None:
    """ConfigError if the two differ in what only a new start can change."""
    fixed = {
        "name": (old.name, new.name),
        "bind": (old.bind, new.bind),
        "max_body": (old.limits.max_body_bytes, new.limits.max_body_bytes),
        "log_format": (old.log_format, new.log_format),
        "dashboard": (old.dashboard, new.dashboard),
        "dashboard_admin": (old.dashboard_admin, new.dashboard_admin),
    }
    for name, (before, after) in fixed.items():
        if before != after:
            raise ConfigError(
                f"{name} cannot change while the cluster runs (from {before} to {after}): "
                "stop it and start it again"
            )
    if new.limits.client_limit > old.limits.client_limit:
        # The ROUTER's room for unread replies is fixed when it binds, whatever is set later.
        raise ConfigError(
            f"client_limit can be lowered but not raised (from {old.limits.client_limit} to "
            f"{new.limits.client_limit}) while the cluster runs: stop it and start it again"
        )
    was_static = {pool.name: pool.handler is None for pool in old.pools}
    for pool in new.pools:
        is_static = pool.handler is None
        if was_static.get(pool.name, is_static) != is_static:
            raise ConfigError(
                f"pool {pool.name!r} cannot change between a handler and endpoints while the "
                "cluster runs: give the new one another name"
            )
