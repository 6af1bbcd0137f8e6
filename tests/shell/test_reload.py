"""What a new configuration may change while the cluster runs."""

from dataclasses import replace

import pytest

from balancer.config import Config, Pool
from balancer.core.limits import Limits
from balancer.sources import ConfigError
from workers.reload import refuse_what_cannot_change

OLD = Config(pools=(Pool(name="a", handler="m:a", workers=2), Pool(name="s", handler=None)))


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        Config(),
        replace(OLD, pools=OLD.pools[::-1]),
        replace(OLD, pools=(Pool(name="a", handler="m:b", workers=9),)),
        replace(OLD, limits=Limits(deadline_s=1.0, client_limit=1), restart=False, max_requests=5),
    ],
)
def test_pools_and_limits_may_change(new: Config) -> None:
    refuse_what_cannot_change(OLD, new)


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        (replace(OLD, name="b"), "name cannot change while the cluster runs (from default to b)"),
        (replace(OLD, bind="ipc:///x"), "bind cannot change while the cluster runs"),
        (replace(OLD, limits=Limits(max_body_bytes=1)), "max_body cannot change"),
        (replace(OLD, limits=Limits(client_limit=1025)), "client_limit can be lowered but not"),
        (replace(OLD, log_format="json"), "log_format cannot change"),
        (replace(OLD, dashboard="127.0.0.1:80"), "dashboard cannot change"),
        (replace(OLD, dashboard_admin=True), "dashboard_admin cannot change"),
        (replace(OLD, pools=(Pool(name="s", handler="m:a"),)), "pool 's' cannot change between"),
        (replace(OLD, pools=(Pool(name="a", handler=None),)), "pool 'a' cannot change between"),
    ],
)
def test_what_cannot_change_is_refused_with_the_fix(new: Config, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        refuse_what_cannot_change(OLD, new)
    assert complaint in str(raised.value)
    assert "stop it and start it again" in str(raised.value) or "another name" in str(raised.value)
