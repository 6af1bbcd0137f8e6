"""What a connection costs while more waits to be sent than the balancer takes."""

from pathlib import Path
from time import monotonic, sleep, thread_time

import zmq

from balancer.client.calls import Request
from balancer.client.connection import Connection

CALLS = 300_000
LOOKS = 1000


def cost_of_looking_s(connection: Connection[None]) -> float:
    began_s = thread_time()
    for _ in range(LOOKS):
        connection.advance(monotonic())
    return thread_time() - began_s


def test_calls_that_have_left_the_line_cost_nothing_more(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    nobody_reads = context.socket(zmq.ROUTER)
    nobody_reads.rcvhwm = 1
    address = f"ipc://{tmp_path}/balancer"
    nobody_reads.bind(address)
    connection: Connection[None] = Connection([address], monotonic())
    request = Request(bytes(1000), timeout_s=60.0)
    calls = [connection.submit(request, None, monotonic()) for _ in range(CALLS)]
    while not calls[0].is_handed_over:
        connection.advance(monotonic())
        sleep(0.001)
    before_s = cost_of_looking_s(connection)
    assert not calls[CALLS // 2].is_handed_over
    for call in calls[:-1]:
        connection.forget(call)
    after_s = cost_of_looking_s(connection)
    connection.close()
    nobody_reads.close(0)
    context.term()
    assert after_s < 4 * before_s
