"""The last status as Prometheus wants it: one table says which metrics there are."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from balancer.dashboard import readings
from balancer.dashboard.readings import Durations, Reading, Status
from balancer.histogram import LIMITS_S

BUCKETS = tuple(
    number
    for number, limit in enumerate(LIMITS_S)
    if f"{limit:e}".startswith(("1.00", "2.50", "5"))
)
"""The classes of a Histogram that end at 1, 2.5 and 5: as fine as a bucket needs to be."""


class Row(NamedTuple):
    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[Status], Iterable[Reading] | Iterable[Durations]]


METRICS = (
    Row("failover_up", "gauge", (), "1 if the balancer answered, else 0", readings.up),
    Row(
        "failover_requests_total",
        "counter",
        ("status", "reason"),
        "requests that were answered; reason is `none` where the status says it all",
        readings.requests,
    ),
    Row(
        "failover_requests_in_flight",
        "gauge",
        (),
        "requests that wait or are being worked on",
        readings.total_of("open"),
    ),
    Row(
        "failover_request_duration_seconds",
        "histogram",
        ("pool",),
        "from arrival to answer, by the pool that answered; `none` if none did",
        readings.durations_of("latency"),
    ),
    Row(
        "failover_queue_time_seconds",
        "histogram",
        ("pool",),
        "from arrival to the first try, by the pool that was asked",
        readings.durations_of("queue_time"),
    ),
    Row(
        "failover_tries_total",
        "counter",
        ("pool", "outcome"),
        "requests handed to a worker, by how that ended",
        readings.tries,
    ),
    Row(
        "failover_failovers_total",
        "counter",
        (),
        "tries after the first of a request",
        readings.total_of("failovers"),
    ),
    Row(
        "failover_batches_total",
        "counter",
        (),
        "messages with several requests for a worker",
        readings.total_of("batches"),
    ),
    Row(
        "failover_late_replies_total",
        "counter",
        (),
        "replies whose request was over",
        readings.total_of("late_replies"),
    ),
    Row(
        "failover_clients_gone_total",
        "counter",
        (),
        "requests whose client left before the answer",
        readings.total_of("clients_gone"),
    ),
    Row(
        "failover_replies_undelivered_total",
        "counter",
        (),
        "answers that their client could not be given",
        readings.total_of("replies_undelivered"),
    ),
    Row(
        "failover_queue_length",
        "gauge",
        (),
        "requests that wait for a worker",
        readings.queue_of("length"),
    ),
    Row(
        "failover_queue_limit",
        "gauge",
        (),
        "requests that may wait",
        readings.queue_of("limit"),
    ),
    Row("failover_queue_bytes", "gauge", (), "size of what waits", readings.queue_of("bytes")),
    Row(
        "failover_queue_limit_bytes",
        "gauge",
        (),
        "size that may wait",
        readings.queue_of("limit_bytes"),
    ),
    Row(
        "failover_retry_budget_spent",
        "gauge",
        (),
        "tries of late that the retry budget was charged with",
        readings.total_of("retry_budget", "spent"),
    ),
    Row(
        "failover_retry_budget_allowed",
        "gauge",
        (),
        "tries that it allows at present",
        readings.total_of("retry_budget", "allowed"),
    ),
    Row(
        "failover_workers",
        "gauge",
        ("pool", "state"),
        "workers in each state",
        readings.workers,
    ),
    Row(
        "failover_worker_restarts_total",
        "counter",
        ("cause",),
        "workers started anew, by what had ended them",
        readings.worker_restarts,
    ),
    Row(
        "failover_ejections_total",
        "counter",
        (),
        "workers put out of rotation for failing again and again",
        readings.total_of("ejections"),
    ),
    Row(
        "failover_balancer_restarts_total",
        "counter",
        (),
        "balancers that replaced a dead one",
        readings.balancer_restarts,
    ),
    Row(
        "failover_balancer_pulse_seconds",
        "gauge",
        (),
        "how long the balancer took for the launcher's last question",
        readings.pulse,
    ),
)


class StatusCollector(Collector):
    def __init__(self, last_status: Callable[[], Status | None]) -> None:
        self._last_status = last_status

    def collect(self) -> Iterator[Metric]:
        """While nobody answers, that is all there is to say: old figures would look like peace."""
        status = self._last_status()
        if status is None:
            yield GaugeMetricFamily(METRICS[0].name, METRICS[0].help, 0.0)
            return
        for row in METRICS:
            yield _family(row, status)


def _family(row: Row, status: Status) -> Metric:
    if row.type == "histogram":
        histogram = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for reading in row.read(status):
            assert isinstance(reading, Durations)
            histogram.add_metric(reading.labels, _buckets(reading.counts), reading.sum_s)
        return histogram
    kind = CounterMetricFamily if row.type == "counter" else GaugeMetricFamily
    family = kind(row.name, row.help, labels=row.labels)
    for labels, figure in row.read(status):  # type: ignore[misc]
        family.add_metric(labels, figure)
    return family


def _buckets(counts: Mapping[int, int]) -> list[tuple[str, float]]:
    """Each holds all that took no longer."""
    buckets = [
        (repr(LIMITS_S[last]), float(sum(n for c, n in counts.items() if c <= last)))
        for last in BUCKETS
    ]
    return [*buckets, ("+Inf", float(sum(counts.values())))]


def readme_table() -> str:
    """The table as the README shows it."""
    lines = ["| metric | type | labels | what it counts |", "|---|---|---|---|"]
    for row in METRICS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{row.name}` | {row.type} | {labels} | {row.help} |")
    return "\n".join(lines) + "\n"
