"""A steady stream of small requests, each of which must run once and be answered at first try."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.asking import Record, Reply, asker

SLEEP_S = 0.02
AT_ONCE = 3
"""So many workers are in use, whichever of the idle ones are preferred."""
LAST_REPLY_TIMEOUT_S = 20.0


class Stream:
    """What came of the requests; complete once the stream has ended."""

    def __init__(self, record: Record, rate_per_s: float) -> None:
        self.record = record
        self.sent = 0
        self.replies: list[Reply] = []
        self.latencies_s: list[float] = []
        self._pause_s = 1 / rate_per_s
        self._must_stop = threading.Event()

    def run(self, address: str) -> None:
        """Send some at fixed times, whatever became of the ones before; then wait for the rest."""
        due_at: dict[int, float] = {}
        with asker(address) as client:
            started_at = time.monotonic()
            give_up_at = float("inf")
            while due_at or not self._must_stop.is_set():
                now, group = time.monotonic(), self.sent // AT_ONCE
                due = started_at + group * AT_ONCE * self._pause_s
                if self._must_stop.is_set():
                    give_up_at = min(give_up_at, now + LAST_REPLY_TIMEOUT_S)
                    due = give_up_at
                if now >= give_up_at:
                    return
                if now >= due:
                    job = {"sleep_s": SLEEP_S, "record": self.record.path, "name": str(self.sent)}
                    due_at[client.send(job)] = due
                    self.sent += 1
                elif number := client.receive(min(due - now, 0.1)):
                    reply = client.reply(number)
                    self.replies.append(reply)
                    self.latencies_s.append(reply.at - due_at.pop(number))

    def stop(self) -> None:
        self._must_stop.set()

    @property
    def pids(self) -> list[int]:
        """Who has answered, in the order of the replies."""
        return [reply.body["pid"] for reply in list(self.replies)]

    def assert_undisturbed(self) -> None:
        """Every request was answered 200 by the first worker that it was given to, and ran once."""
        endings = Counter((reply.status, reply.reason, *reply.tried) for reply in self.replies)
        assert endings == {(200, ""): self.sent}
        runs = Counter(run["name"] for run in self.record.every_run())
        assert runs == {str(number): 1 for number in range(self.sent)}
        ordered = sorted(self.latencies_s)
        last = len(ordered) - 1
        p50_ms, p99_ms, max_ms = (1000 * ordered[int(share * last)] for share in (0.5, 0.99, 1))
        print(f"{self.sent} requests: p50 {p50_ms:.1f}, p99 {p99_ms:.1f}, max {max_ms:.1f} ms")


@contextmanager
def stream(address: str, record_path: Path, rate_per_s: float = 80.0) -> Iterator[Stream]:
    """Send from a thread of its own, until the end of the block; by then all is answered."""
    requests = Stream(Record(record_path), rate_per_s)
    thread = threading.Thread(target=requests.run, args=(address,))
    thread.start()
    try:
        yield requests
    finally:
        requests.stop()
        thread.join()
