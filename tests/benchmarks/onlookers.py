"""Everybody who may look at a cluster, at once: its page's scraper, ``top`` and ``events``."""

import fcntl
import http.client
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.cluster.running import PROJECT, Cluster, run_cluster_command

SCRAPE_EVERY_S = 1.0
LINES, COLUMNS = 40, 120


@contextmanager
def onlookers(cluster: Cluster, page_port: int) -> Iterator[None]:
    """They look until the end, as processes of their own; the page is the cluster's."""
    with ExitStack() as stack:
        stack.enter_context(_events(cluster))
        stack.enter_context(_top(cluster))
        stack.enter_context(_scrapes(page_port))
        yield


@contextmanager
def _events(cluster: Cluster) -> Iterator[None]:
    command = run_cluster_command("events", "--name", cluster.name)
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _top(cluster: Cluster) -> Iterator[None]:
    """In a terminal of the usual size, whose other end somebody reads."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        run_cluster_command("top", "--name", cluster.name),
        cwd=PROJECT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
    reader.start()
    try:
        yield
        assert process.poll() is None, "top has ended"
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def _drain(descriptor: int) -> None:
    with suppress(OSError):  # EIO: the other end is closed
        while os.read(descriptor, 1 << 16):
            pass


@contextmanager
def _scrapes(port: int) -> Iterator[None]:
    is_over = threading.Event()
    scrapes: list[int] = []

    def scrape() -> None:
        while not is_over.wait(SCRAPE_EVERY_S):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            scrapes.append(connection.getresponse().status)
            connection.close()

    scraper = threading.Thread(target=scrape, daemon=True)
    scraper.start()
    try:
        yield
    finally:
        is_over.set()
        scraper.join(15)
    assert set(scrapes) == {200}, f"scraped {scrapes}"
