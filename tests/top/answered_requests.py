"""Requests that a scripted cluster has answered, as its status counts them."""

from collections import Counter

from balancer.control import Message
from balancer.histogram import Histogram
from tests.shell.fake_cluster import pool


def answer(status: Message, took: dict[float, int], code: str = "200") -> None:
    """Count so many requests as answered, by how many seconds each took."""
    counts: Counter[str] = Counter()
    for row in status["pools"]:
        counts.update(row["latency"]["counts"])
    for took_s, number in took.items():
        histogram = Histogram()
        histogram.note(took_s)
        counts.update({str(place): number for place in histogram.counts})
    latency = {"counts": dict(counts), "sum_s": 0.0}
    status["pools"] = [pool("slow", len(status["workers"]), latency=latency)]
    number, totals = sum(took.values()), status["totals"]
    totals["requests"] += number
    totals["answered"] += number
    totals["by_status"] = dict(Counter(totals["by_status"]) + Counter({code: number}))
