"""The metrics: what Prometheus makes of them, and that every number is the status's own."""

import math
import random
import re
from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from balancer.core.pool import State
from balancer.dashboard.metrics import METRICS, StatusCollector, readme_table
from balancer.dashboard.readings import REASONS, STATES
from balancer.dashboard.shown import shown_status
from balancer.histogram import Histogram
from tests.cluster.running import PROJECT
from tests.shell.fake_cluster import pool, status, worker
from workers.ending import Ending

BASE_UNITS = ("_seconds", "_bytes", "_ratio")
WRONG_UNITS = re.compile(
    r"_(ms|milliseconds|us|minutes|hours|kb|kib|mb|percent|count|sum|bucket)(_|$)"
)


def busy_status() -> dict[str, Any]:
    """A cluster that has seen all sorts of things."""
    workers = [worker("a-1", "busy"), worker("a-2", "down"), worker("b-1")]
    found = status("metrics", *workers)
    found["cluster"].update(balancer_restarts=2, balancer_pulse_ms=0.25)
    found["queue"].update(length=7, bytes=3500)
    found["totals"].update(
        requests=1060,
        tries=1100,
        failovers=40,
        batches=9,
        late_replies=4,
        ejections=3,
        clients_gone=5,
        replies_undelivered=6,
        open=11,
        answered=1044,
        by_status={"200": 1000, "400": 3, "429": 2, "500": 9, "503": 29, "504": 1},
        by_reason={
            "malformed": 3,
            "client_limit": 2,
            "handler_error": 7,
            "poisoned": 2,
            "exhausted": 20,
            "queue_full": 9,
            "deadline": 1,
        },
        retry_budget={"spent": 4, "allowed": 12},
    )
    found["restarts"].update(signal=3, hung=1, balancer=2)
    latency = {"counts": {"0": 1, "10": 4, "99": 1}, "sum_s": 12.5}
    found["pools"] = [
        pool("a", 2, latency=latency, tries={"answer": 900, "died": 3, "timeout": 1}),
        pool("b", 1),
        pool("", 0, latency={"counts": {"3": 2}, "sum_s": 0.5}),
    ]
    return found


def families_of(found: dict[str, Any] | None) -> dict[str, Metric]:
    registry = CollectorRegistry()
    shown = shown_status(found) if found is not None else None
    registry.register(StatusCollector(lambda: shown))
    text = generate_latest(registry).decode()
    openmetrics = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    assert list(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]
    return {family.name: family for family in text_string_to_metric_families(text)}


def values_of(found: dict[str, Any] | None) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, these in order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families_of(found).values()
        for sample in family.samples
    }


def test_the_numbers_are_those_of_the_status() -> None:
    values = values_of(busy_status())
    expected = {
        ("failover_up",): 1,
        ("failover_requests_in_flight",): 11,
        ("failover_failovers_total",): 40,
        ("failover_batches_total",): 9,
        ("failover_late_replies_total",): 4,
        ("failover_clients_gone_total",): 5,
        ("failover_replies_undelivered_total",): 6,
        ("failover_queue_length",): 7,
        ("failover_queue_limit",): 1024,
        ("failover_queue_bytes",): 3500,
        ("failover_queue_limit_bytes",): 64 * 1024 * 1024,
        ("failover_retry_budget_spent",): 4,
        ("failover_retry_budget_allowed",): 12,
        ("failover_ejections_total",): 3,
        ("failover_balancer_restarts_total",): 2,
        ("failover_balancer_pulse_seconds",): 0.00025,
        ("failover_tries_total", "answer", "a"): 900,
        ("failover_tries_total", "died", "a"): 3,
        ("failover_tries_total", "garbled", "a"): 0,
        ("failover_tries_total", "answer", "b"): 0,
        ("failover_workers", "a", "busy"): 1,
        ("failover_workers", "a", "down"): 1,
        ("failover_workers", "a", "idle"): 0,
        ("failover_workers", "b", "idle"): 1,
        ("failover_worker_restarts_total", "signal"): 3,
        ("failover_worker_restarts_total", "hung"): 1,
        ("failover_worker_restarts_total", "recycled"): 0,
        ("failover_request_duration_seconds_count", "a"): 6,
        ("failover_request_duration_seconds_sum", "a"): 12.5,
        ("failover_request_duration_seconds_bucket", "0.0001", "a"): 1,
        ("failover_request_duration_seconds_bucket", "0.0005", "a"): 1,
        ("failover_request_duration_seconds_bucket", "0.001", "a"): 5,
        ("failover_request_duration_seconds_bucket", "250.0", "a"): 5,
        ("failover_request_duration_seconds_bucket", "+Inf", "a"): 6,
        ("failover_request_duration_seconds_count", "none"): 2,
        ("failover_queue_time_seconds_count", "b"): 0,
    }
    assert {name: values.get(name) for name in expected} == expected
    states = [name[2] for name in values if name[0] == "failover_workers" and name[1] == "a"]
    assert sorted(states) == sorted(STATES)


def test_each_answer_is_counted_once() -> None:
    found = busy_status()
    counted = {
        name[1:]: value
        for name, value in values_of(found).items()
        if name[0] == "failover_requests_total" and value
    }
    assert counted == {
        ("none", "200"): 1000,
        ("malformed", "400"): 3,
        ("client_limit", "429"): 2,
        ("handler_error", "500"): 7,
        ("poisoned", "500"): 2,
        ("exhausted", "503"): 20,
        ("queue_full", "503"): 9,
        ("deadline", "504"): 1,
    }
    assert sum(counted.values()) == found["totals"]["answered"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_was_answered_the_sum_is_exact(seed: int) -> None:
    dice = random.Random(seed)
    reasons = Counter({reason: dice.randrange(5) for reason in REASONS})
    by_status = Counter({"200": dice.randrange(100), "503": dice.randrange(2)})
    for reason, count in reasons.items():
        by_status[str(REASONS[reason])] += count
    found = busy_status()
    found["totals"].update(
        by_status=dict(by_status), by_reason=dict(reasons), answered=by_status.total()
    )
    counted = [v for name, v in values_of(found).items() if name[0] == "failover_requests_total"]
    assert sum(counted) == by_status.total()


def test_a_bucket_holds_what_took_no_longer() -> None:
    dice = random.Random(1)
    durations = [10 ** dice.uniform(-5, 3) for _ in range(2000)] + [0.001, 0.25, 5.0]
    histogram = Histogram()
    for duration in durations:
        histogram.note(duration)
    found = busy_status()
    counts = {str(number): count for number, count in histogram.counts.items()}
    found["pools"] = [pool("a", 1, queue_time={"counts": counts, "sum_s": histogram.sum_s})]
    buckets = {
        float(name[1]): value
        for name, value in values_of(found).items()
        if name[0] == "failover_queue_time_seconds_bucket" and name[2] == "a"
    }
    assert buckets == {limit: sum(d <= limit for d in durations) for limit in buckets}
    assert len(buckets) == 21


def test_every_state_and_every_ending_of_a_worker_is_counted() -> None:
    states = {*State, "starting", "drained", "failed"}
    found = status("metrics", *(worker(f"a-{state}", state) for state in states))
    found["restarts"] = {ending.value: 1 for ending in Ending}
    values = values_of(found)
    assert {name[2] for name in values if name[0] == "failover_workers"} == states
    assert all(values["failover_workers", "a", state] == 1 for state in states)
    endings = {name[1]: value for name, value in values.items() if "worker_restarts" in name[0]}
    assert endings == {ending.value: 1 for ending in Ending}


def test_good_answers_have_their_number_before_there_are_any() -> None:
    """Else the first ones would be no rise of anything."""
    values = values_of(status("metrics", worker("a-1")))
    assert values["failover_requests_total", "none", "200"] == 0
    assert values["failover_requests_total", "exhausted", "503"] == 0
    assert ("failover_requests_total", "none", "503") not in values


def test_without_a_balancer_there_are_no_figures_but_the_launchers() -> None:
    found = busy_status()
    found.update(totals={}, pools=[])
    found["cluster"]["balancer_pulse_ms"] = None
    values = values_of(found)
    assert values["failover_up",] == 0
    assert values["failover_workers", "a", "down"] == 1
    assert values["failover_worker_restarts_total", "signal"] == 3
    assert {name[0] for name in values} == {
        "failover_up",
        "failover_workers",
        "failover_worker_restarts_total",
        "failover_balancer_restarts_total",
        "failover_queue_limit",
        "failover_queue_limit_bytes",
    }


def test_of_a_silent_cluster_nothing_is_said_but_that() -> None:
    assert values_of(None) == {("failover_up",): 0}


def test_a_pool_may_be_called_none() -> None:
    found = busy_status()
    found["pools"][1] = pool("none", 1, latency={"counts": {"3": 5}, "sum_s": 1.0})
    assert values_of(found)["failover_request_duration_seconds_count", "none"] == 7


@pytest.mark.parametrize("found", [busy_status(), None], ids=["busy", "silent"])
def test_lint(found: dict[str, Any] | None) -> None:
    """What promtool would say, and a little more."""
    for family in families_of(found).values():
        assert family.name.startswith("failover_")
        assert family.documentation
        assert not WRONG_UNITS.search(family.name)
        series = [(s.name, *sorted(s.labels.items())) for s in family.samples]
        assert len(series) == len(set(series)), "a series stands there twice"
        for sample in family.samples:
            assert (sample.name.endswith("_total")) == (family.type == "counter")
            assert math.isfinite(sample.value)
            assert sample.value >= 0
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)
            assert all(sample.labels.values())
        if family.type == "histogram":
            assert family.name.endswith(BASE_UNITS)
            _lint_histogram(family)


def _lint_histogram(family: Metric) -> None:
    by_pool: dict[str, list[tuple[float, float]]] = {}
    counts = {s.labels["pool"]: s.value for s in family.samples if s.name.endswith("_count")}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            buckets = by_pool.setdefault(sample.labels["pool"], [])
            buckets.append((float(sample.labels["le"]), sample.value))
    assert by_pool.keys() == counts.keys()
    for name, buckets in by_pool.items():
        assert buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (math.inf, counts[name])


def test_no_metric_is_there_that_the_table_lacks() -> None:
    families = families_of(busy_status())
    rows = {row.name.removesuffix("_total"): row for row in METRICS}
    assert families.keys() == rows.keys()
    for name, family in families.items():
        assert (family.type, family.documentation) == (rows[name].type, rows[name].help)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == set(rows[name].labels)


def test_the_readme_has_the_table() -> None:
    table = readme_table()
    assert all(f"| `{row.name}` |" in table for row in METRICS)
    assert table in (PROJECT / "README.md").read_text()
