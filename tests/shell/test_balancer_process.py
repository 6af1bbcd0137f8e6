"""The balancer as its launcher has it: what one of them told in time, the next one knows."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq

from balancer.config import Config, Pool
from tests.cluster.running import free_address
from tests.shell.peers import PATIENCE_S, Peer, peer
from workers.balancer_process import BalancerProcess
from workers.console import Console
from workers.loop import Loop


@pytest.fixture
def worker() -> Iterator[Peer]:
    with peer() as worker:
        yield worker


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def config(worker: Peer) -> Config:
    pool = Pool(name="echo", handler=None, endpoints=(worker.address,))
    return Config(bind=free_address(), pools=(pool,))


@pytest.fixture
def balancer(loop: Loop, config: Config) -> Iterator[BalancerProcess]:
    sink = os.open(os.devnull, os.O_WRONLY)
    console = Console("text", sink)
    balancer = BalancerProcess(loop, console, lambda: config, lambda message: None, lambda: ())
    balancer.start()
    yield balancer
    balancer.kill()
    wait_until(lambda: balancer.process is None or balancer.process.reap())
    if balancer.process is not None:
        balancer.note_exit()
    console.close(timeout_s=1.0)
    os.close(sink)


@pytest.fixture
def client(config: Config) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.rcvtimeo = int(PATIENCE_S * 1000)
        client.connect(config.bind)
        yield client


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def ask(client: zmq.Socket[bytes], **header: Any) -> None:
    client.send_multipart([b"", msgpack.packb(header), msgpack.packb("x")])


def test_a_name_that_nobody_has_read_when_the_balancer_dies_reaches_the_next_one(
    balancer: BalancerProcess, loop: Loop, worker: Peer, client: zmq.Socket[bytes]
) -> None:
    ask(client, once=True, id="pay")
    worker.receive()
    assert balancer.process is not None
    balancer.process.signal(signal.SIGKILL)
    wait_until(balancer.process.reap)
    # The launcher's loop has not turned since: what it was told lies unread.
    assert balancer.note_exit() is None
    worker.reply(b"")
    while balancer.process is None:
        loop.turn()
    ask(client, once=True, id="pay")
    reply = msgpack.unpackb(client.recv_multipart()[-1])
    assert (reply["status"], reply["may_have_run"]) == (409, True)


def test_every_balancer_of_a_launcher_tells_of_the_same_life(
    balancer: BalancerProcess, loop: Loop, client: zmq.Socket[bytes]
) -> None:
    lives = []
    for _ in range(2):
        while balancer.process is None:
            loop.turn()
        ask(client, hello=True)
        lives.append(msgpack.unpackb(client.recv_multipart()[-1])["body"]["life"])
        balancer.process.signal(signal.SIGKILL)
        wait_until(balancer.process.reap)
        balancer.note_exit()
    assert lives[0] == lives[1]
    assert len(lives[0]) == 16
