"""From file, environment and command line to one checked configuration."""

import json
import os
from pathlib import Path

import pytest

from balancer.config import (
    Config,
    Pool,
    from_json,
    load,
    load_name,
    to_json,
    to_toml,
    usable_cpus,
)
from balancer.core.limits import Limits
from balancer.options import OPTIONS, Option
from balancer.sources import ConfigError

JOB = "jobs:resize"


def configure(*handlers: str, **flags: str) -> Config:
    return load(flags, handlers, {})


def from_file(tmp_path: Path, text: str, *handlers: str, **flags: str) -> Config:
    return configure(*handlers, config=written(tmp_path, text), **flags)


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return str(path)


def refusal(*handlers: str, **flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(*handlers, **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def file_refusal(tmp_path: Path, text: str) -> str:
    return refusal(config=written(tmp_path, text)).replace(str(tmp_path) + "/", "")


# --- defaults ----------------------------------------------------------------------------------


def test_without_handler_the_demo_runs_with_the_defaults() -> None:
    pools = tuple(
        Pool(name=name, handler=f"workers.demo:{name}", workers=1)
        for name in ("server1", "server2", "server3")
    )
    assert configure() == Config(pools=pools)


def test_one_handler_gets_the_usable_cpus_and_several_get_one_each() -> None:
    assert [pool.workers for pool in configure(JOB).pools] == [usable_cpus()]
    assert [pool.workers for pool in configure(JOB, "jobs:crop").pools] == [1, 1]
    assert [pool.workers for pool in configure(JOB, "jobs:crop", workers="3").pools] == [3, 3]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("100001 100000", 2),
        ("0 100000", 1),
        ("max 100000", 999),
        ("99900000 100000", 999),
        ("nonsense", 999),
        ("1 0", 999),
    ],
)
def test_the_quota_of_the_container_counts(tmp_path: Path, text: str, cpus: int) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text + "\n")
    assert usable_cpus(str(path)) == min(cpus, len(os.sched_getaffinity(0)))


def test_the_table_shows_the_defaults_that_apply() -> None:
    config = Config()
    for option in OPTIONS:
        if option.field and not option.default_text:
            owner = config if hasattr(config, option.field) else config.limits
            assert getattr(owner, option.field) == option.default, option.name
            assert option.kind.read(option.shown_default) == option.default, option.name


def test_every_limit_that_a_person_may_set_has_an_option() -> None:
    internal = {"try_start_min_s", "retry_budget_window_s", "retry_budget_per_worker"}
    internal |= {"ejection_tries", "ejection_max_s", "once_ids_limit"}
    fields = {option.field for option in OPTIONS}
    assert set(Limits.__dataclass_fields__) - internal <= fields


# --- sources -----------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[str, object]] = {
    "ejection": ("3s", 3.0),
    "name": ("blue", "blue"),
    "bind": ("ipc:///tmp/x", "ipc:///tmp/x"),
    "restart": ("false", False),
    "max_requests": ("50", 50),
    "max_rss": ("1GiB", 1 << 30),
    "log_format": ("json", "json"),
    "access_log": ("true", True),
    "dashboard": ("127.0.0.1:8080", "127.0.0.1:8080"),
    "dashboard_admin": ("true", True),
    "startup_timeout": ("5m", 300.0),
    "drain_timeout": ("1s", 1.0),
    "deadline": ("40s", 40.0),
    "deadline_max": ("100s", 100.0),
    "try_timeout": ("7s", 7.0),
    "queue_timeout": ("3s", 3.0),
    "hang_kill_after": ("500ms", 0.5),
    "revive_grace": ("0s", 0.0),
    "strikes": ("5", 5),
    "retry_budget": ("50%", 0.5),
    "on_empty": ("next_pool", True),
    "batch_max": ("32", 32),
    "batch_budget": ("2ms", 0.002),
    "batch_wait": ("0s", 0.0),
    "queue_limit": ("10", 10),
    "queue_limit_bytes": ("1MiB", 1 << 20),
    "client_limit": ("7", 7),
    "max_body": ("64 KiB", 65_536),
}
SETTINGS = [option for option in OPTIONS if option.field]


def value_of(config: Config, option: Option) -> object:
    owner = config if hasattr(config, option.field) else config.limits
    return getattr(owner, option.field)


@pytest.mark.parametrize("option", SETTINGS, ids=lambda option: option.name)
def test_an_option_has_one_name_in_every_source(option: Option, tmp_path: Path) -> None:
    text, value = EXAMPLES[option.name]
    assert value_of(configure(**{option.name: text}), option) == value
    assert value_of(load({}, (), {option.variable: text}), option) == value
    assert value_of(from_file(tmp_path, f'{option.name} = "{text}"'), option) == value


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    environ = {
        "CLUSTER_CONFIG": written(tmp_path, "strikes = 4\nclient_limit = 4\nqueue_limit = 4"),
        "CLUSTER_CLIENT_LIMIT": "5",
        "CLUSTER_QUEUE_LIMIT": "5",
    }
    limits = load({"queue_limit": "6"}, (), environ).limits
    assert (limits.strikes, limits.client_limit, limits.queue_limit) == (4, 5, 6)


def test_an_empty_variable_says_nothing() -> None:
    assert load({}, (), {"CLUSTER_DEADLINE": "", "CLUSTER_HANDLERS": " "}) == configure()


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [("CLUSTER_TRY_TIMEUOT", "CLUSTER_TRY_TIMEOUT"), ("CLUSTER_WORKER", "CLUSTER_WORKERS")],
)
def test_a_misspelt_variable_is_refused_with_the_right_one(variable: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} is no option; write {nearest}, or unset"):
        load({}, (), {variable: "5"})


def test_a_variable_that_resembles_none_of_ours_is_somebody_elses() -> None:
    assert (
        load({}, (), {"CLUSTER_ID": "7", "CLUSTER_MODE": "ha", "CLUSTER_PORT": "tcp://10.0.0.1:80"})
        == configure()
    )


def test_numbers_and_truth_values_stand_in_toml_as_they_are(tmp_path: Path) -> None:
    text = "deadline = 20\ntry_timeout = 2.5\nmax_body = 1000\nretry_budget = 0.5\nrestart = false"
    config = from_file(tmp_path, text)
    assert (config.limits.deadline_s, config.limits.try_timeout_s) == (20.0, 2.5)
    assert (config.limits.max_body_bytes, config.limits.retry_budget) == (1000, 0.5)
    assert config.restart is False


def test_handlers_of_a_stronger_source_replace_all_pools(tmp_path: Path) -> None:
    text = 'handlers = ["file:a", "file:b"]'
    environ = {"CLUSTER_CONFIG": written(tmp_path, text), "CLUSTER_HANDLERS": "env:a env:b"}
    assert [pool.handler for pool in from_file(tmp_path, text).pools] == ["file:a", "file:b"]
    assert [pool.handler for pool in load({}, (), environ).pools] == ["env:a", "env:b"]
    assert [pool.handler for pool in load({}, (JOB,), environ).pools] == [JOB]


POOLS = """
workers = 2

[[pool]]
handler = "jobs:resize"
workers = 5

[[pool]]
handler = "jobs:crop"
name = "cropping"

[[pool]]
name = "elsewhere"
endpoints = ["tcp://127.0.0.1:7001", "ipc:///tmp/worker"]
probe = true
"""


def test_pools_of_a_file_have_their_own_workers_names_and_endpoints(tmp_path: Path) -> None:
    assert from_file(tmp_path, POOLS).pools == (
        Pool(name="resize", handler="jobs:resize", workers=5),
        Pool(name="cropping", handler="jobs:crop", workers=2),
        Pool(
            name="elsewhere",
            handler=None,
            endpoints=("tcp://127.0.0.1:7001", "ipc:///tmp/worker"),
            probe=True,
        ),
    )


def test_slots_are_numbered_from_one(tmp_path: Path) -> None:
    assert [pool.slots for pool in from_file(tmp_path, POOLS).pools] == [
        ("resize-1", "resize-2", "resize-3", "resize-4", "resize-5"),
        ("cropping-1", "cropping-2"),
        ("elsewhere-1", "elsewhere-2"),
    ]


def test_workers_on_the_command_line_apply_to_each_pool_of_the_file(tmp_path: Path) -> None:
    assert [pool.workers for pool in from_file(tmp_path, POOLS, workers="7").pools] == [7, 7, 0]


def test_pools_of_equal_attributes_get_names_of_their_own() -> None:
    pools = configure("a:run", "b:run", "c:Model.run", f"d:{'x' * 99}").pools
    assert [pool.name for pool in pools] == ["run", "run_2", "run_3", "x" * 27]


def test_a_command_finds_the_name_where_the_cluster_found_it(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "blue"')
    assert load_name({}, {}) == "default"
    assert load_name({}, {"CLUSTER_CONFIG": path}) == "blue"
    assert load_name({}, {"CLUSTER_CONFIG": path, "CLUSTER_NAME": "green"}) == "green"
    assert load_name({"name": "red"}, {"CLUSTER_NAME": "green"}) == "red"


# --- what follows from others ------------------------------------------------------------------


def test_a_short_deadline_alone_shortens_the_tries() -> None:
    limits = configure(deadline="6s").limits
    assert (limits.try_timeout_s, limits.hang_kill_after_s) == (2.0, 0.4)
    assert configure(deadline="11s").limits.try_timeout_s == 10.0


def test_hang_kill_after_is_a_fifth_of_the_try_timeout() -> None:
    assert configure(try_timeout="5s").limits.hang_kill_after_s == 1.0
    assert configure(try_timeout="5s", hang_kill_after="3s").limits.hang_kill_after_s == 3.0


# --- handing on --------------------------------------------------------------------------------


def every_setting(tmp_path: Path) -> Config:
    texts = {name: text for name, (text, _) in EXAMPLES.items()}
    return from_file(tmp_path, POOLS, **texts)


def test_json_brings_back_the_same_configuration(tmp_path: Path) -> None:
    config = every_setting(tmp_path)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("deadline", ["6s", "5s", "2ms", "168h"])
def test_the_written_file_brings_back_the_same_configuration(tmp_path: Path, deadline: str) -> None:
    for config in (
        every_setting(tmp_path),
        configure(JOB, deadline=deadline, deadline_max="168h"),
        configure(name="007", bind='ipc:///tmp/"ü😀"\\', retry_budget="110.7%"),
    ):
        assert from_file(tmp_path, to_toml(config)) == config


# --- refusals ----------------------------------------------------------------------------------


def test_a_try_as_long_as_the_deadline_is_refused() -> None:
    assert refusal(try_timeout="60s", deadline="30s") == (
        "try_timeout (60s) must be shorter than deadline (30s): "
        "raise --deadline or lower --try-timeout"
    )
    assert "must be shorter" in refusal(try_timeout="30s")
    assert "must be shorter" in refusal(try_timeout="5s", deadline="5s")


def test_a_wait_for_batches_that_cannot_be_is_refused() -> None:
    assert refusal(batch_wait="5ms") == (
        "batch_wait is of no use while batch_max is 1: give --batch-max, too"
    )
    assert refusal(batch_wait="30s", batch_max="2") == (
        "batch_wait (30s) must be shorter than deadline (30s): lower --batch-wait"
    )
    assert configure(JOB, batch_wait="29s", batch_max="2").limits.batch_wait_s == 29.0


def test_a_deadline_above_its_maximum_is_refused() -> None:
    assert refusal(deadline="400s") == (
        "deadline (400s) must not be longer than deadline_max (300s): "
        "raise --deadline-max or lower --deadline"
    )


@pytest.mark.parametrize(
    "option",
    [o for o in SETTINGS if o.kind.metavar in ("DURATION", "SIZE", "N")],
    ids=lambda option: option.name,
)
def test_numbers_that_cannot_work_are_refused_by_their_name(option: Option) -> None:
    may_be_zero = option.name in ("revive_grace", "drain_timeout", "batch_wait")
    for text in ("-1", "", "nan", "9" * 15, "x") + (() if may_be_zero else ("0",)):
        assert refusal(**{option.name: text}).startswith(f"{option.flag}: {text!r} is "), text


@pytest.mark.parametrize("text", ["0", "-1", "4097", "1.5", "two"])
def test_a_senseless_number_of_workers_is_refused(text: str) -> None:
    assert refusal(JOB, workers=text) == (
        f"--workers: {text!r} is out of range; write a whole number from 1 to 4096"
    )


def test_too_many_workers_in_all_are_refused() -> None:
    assert "8192 workers are too many" in refusal(JOB, "jobs:crop", workers="4096")


@pytest.mark.parametrize("text", ["20", "-1%", "1001%", "%", "nan", "1.1"])
def test_a_senseless_share_is_refused(text: str) -> None:
    assert "write it like 20% or 0.2" in refusal(retry_budget=text)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:5555",
        "tcp://*",
        "tcp://0.0.0.0:5555",
        "tcp://10.0.0.1:5555",
        "tcp://example.org:5555",
        "tcp://127.0.0.1.example.org:5555",
        "tcp://eth0;127.0.0.1:5555",
        "tcp://[::]:5555",
        "tcp://127.0.0.256:5555",
        "tcp://:5555",
    ],
)
def test_an_address_that_others_can_reach_is_refused(address: str, tmp_path: Path) -> None:
    reason = (
        f"refused: {address!r} would open the cluster to the network without encryption; "
        "bind to 127.0.0.1 or ipc"
    )
    assert refusal(bind=address) == f"--bind: {reason}"
    text = f'[[pool]]\nendpoints = ["{address}"]'
    assert file_refusal(tmp_path, text) == f"cluster.toml: [[pool]] 1: endpoints: {reason}"


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://127.9.9.9:65535", "tcp://localhost:80", "tcp://[::1]:80"],
)
def test_every_loopback_address_is_accepted(address: str) -> None:
    assert configure(bind=address).bind == address


@pytest.mark.parametrize("port", [":0", ":65536", ":*", ":", "", ":http", ":+1"])
def test_a_port_that_does_not_exist_is_refused(port: str) -> None:
    assert "needs a port from 1 to 65535" in refusal(bind=f"tcp://127.0.0.1{port}")


@pytest.mark.parametrize("address", ["", "5555", "127.0.0.1:5555", "udp://127.0.0.1:1", "tcp://\n"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "is not an address; write tcp://127.0.0.1:5555" in refusal(bind=address)


@pytest.mark.parametrize("address", ["ipc://", "ipc://*", "ipc:///tmp/"])
def test_an_ipc_address_needs_a_path(address: str) -> None:
    assert "names no socket" in refusal(bind=address)


def test_an_ipc_path_may_be_107_bytes_long_and_no_longer() -> None:
    fits = "ipc:///" + "é" * 53
    assert configure(bind=fits).bind == fits
    assert "109 bytes long; the system's limit is 107" in refusal(bind=f"{fits}é")


@pytest.mark.parametrize(
    "word", ["jobs", "jobs:", ":run", "a b:c", "jobs:run()", "jobs.:run", "a:b:c"]
)
def test_what_is_no_handler_is_refused(word: str) -> None:
    assert refusal(word) == (
        f"HANDLER: {word!r} is not a handler; "
        "write module:attribute, for example 'workers.demo:server1'"
    )


@pytest.mark.parametrize("word", ["jobs/images.py:resize", "./jobs/images:resize"])
def test_a_path_to_a_handler_is_refused_with_the_way_to_write_it(word: str) -> None:
    assert refusal(word).endswith("for example 'jobs.images:resize'")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 33, "é", "a\n"])
def test_a_name_outside_the_pattern_is_refused(name: str) -> None:
    assert refusal(name=name) == (
        f"--name: {name!r} is not a name; write 1 to 32 of the characters A-Z a-z 0-9 _ -"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "try_timout = 3",
            "cluster.toml: unknown option 'try_timout'; the nearest is 'try_timeout'",
        ),
        ("config = 'x'", "cluster.toml: unknown option 'config'; the nearest is"),
        (
            "[[pool]]\nhandlr = 'a:b'",
            "[[pool]] 1: unknown option 'handlr'; the nearest is 'handler'",
        ),
        (
            "[[pool]]\nhandler = 'a:b'\ntry_timeout = '5s'",
            "[[pool]] 1: try_timeout holds for all pools; write it above the first [[pool]]",
        ),
        ("deadline = true", "cluster.toml: deadline: write a value, not true"),
        ("deadline = [1]", "cluster.toml: deadline: write a text or a number"),
        ("deadline = inf", "cluster.toml: deadline: 'inf' is not a duration"),
        ("queue_limit = 1.0", "cluster.toml: queue_limit: '1.0' is out of range"),
        ("restart = 5", "cluster.toml: restart: '5' is not a choice"),
        ("on_empty = 'stop'", "on_empty: 'stop' is not a choice; write next_worker or next_pool"),
        ("handlers = 'a:b'", "cluster.toml: handlers: write a list of texts"),
        ("handlers = ['x']", "cluster.toml: handlers: 'x' is not a handler"),
        ("pool = 3", "cluster.toml: pool must be tables"),
        ("handlers = ['a:b']\n[[pool]]\nhandler = 'a:b'", "write either handlers or [[pool]]"),
        ("[[pool]]", "[[pool]] 1: write either a handler or a list of endpoints"),
        ("[[pool]]\nendpoints = []", "[[pool]] 1: write either a handler or a list of endpoints"),
        ("[[pool]]\nendpoints = 'ipc:///x'", "[[pool]] 1: endpoints: write a list of texts"),
        ("[[pool]]\nhandler = 'a:b'\nprobe = true", "probe goes with endpoints; remove it"),
        ("[[pool]]\nendpoints = ['ipc:///x']\nworkers = 1", "workers goes with handler; remove it"),
        ("[[pool]]\nendpoints = ['ipc:///x', 'ipc:///x']", "ipc:///x is named twice"),
        ("bind = 'ipc:///x'\n[[pool]]\nendpoints = ['ipc:///x']", "is the cluster's own"),
        (
            "[[pool]]\nhandler = 'a:b'\nname = 'x'\n[[pool]]\nhandler = 'a:c'\nname = 'x'",
            "two pools are called 'x'; give each a name of its own",
        ),
        ("x =\n", "cluster.toml is not TOML: Invalid value (at line 1"),
        ("x = " + "9" * 5000, "cluster.toml is not TOML: "),
    ],
)
def test_a_file_that_cannot_work_is_refused_by_name_and_place(
    tmp_path: Path, text: str, reason: str
) -> None:
    assert reason in file_refusal(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(config=str(tmp_path / "none.toml")).endswith("No such file or directory")
    assert refusal(config=str(tmp_path)).endswith("Is a directory")
    (tmp_path / "cluster.toml").write_bytes(b"name = '\xff'")
    assert "is not TOML" in refusal(config=str(tmp_path / "cluster.toml"))
