"""The client against a balancer that answers, keeps silent, dies and comes back as it is told."""

import math
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import balancer
from balancer.client import Client, calls
from balancer.client.calls import LOSSES_MAX
from balancer.client.shared_connection import SLEEP_MAX_S, Waiter
from balancer.core.events import FailedTry, Reason, Why
from balancer.errors import (
    ClusterError,
    DeadlineExceeded,
    Duplicate,
    HandlerError,
    Overloaded,
    Poisoned,
    Unavailable,
)
from balancer.wire.reply import Try
from tests.shell.fake_balancer import (
    PATIENCE_S,
    Answer,
    Asked,
    FakeBalancer,
    Later,
    answered,
    balancing,
    echo,
    failed,
    free_port,
    refused,
    silence,
    wait_until,
)

ROOT = Path(balancer.__file__).parents[1]
SLACK_S = 0.3
"""How late a thread may get the processor on a busy machine."""


class Interrupted(KeyboardInterrupt):
    """What a signal handler of the tests raises."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def shuffled(asked: Asked) -> Answer:
    """Answers that overtake each other."""
    return Later(random.uniform(0.0, 0.02), answered(asked.payload))


# --- answers ------------------------------------------------------------------------------------


def test_a_call_returns_the_body_and_send_the_whole_reply() -> None:
    tried = [FailedTry("server2-1", Why.EMPTY, 0.0004)]
    with (
        balancing(lambda asked: answered([asked.payload], tried)) as up,
        Client(up.address) as client,
    ):
        assert client.call({"a": None}) == [{"a": None}]
        reply = client.send(b"x")
    assert (reply.status, reply.body, reply.worker) == (200, [b"x"], "server1-1")
    assert (reply.attempts, reply.tried) == (2, (Try("server2-1", "empty", 0.4),))


@pytest.mark.parametrize(
    ("frame", "kind", "status"),
    [
        (failed("ValueError: no"), HandlerError, 500),
        (refused(Reason.POISONED), Poisoned, 500),
        (refused(Reason.QUEUE_FULL), Overloaded, 503),
        (refused(Reason.EXHAUSTED), Unavailable, 503),
        (refused(Reason.DEADLINE), DeadlineExceeded, 504),
        (b"\xc1", ClusterError, 502),
        (b"\x80", ClusterError, 502),
    ],
)
def test_a_call_raises_what_the_reply_says_and_send_returns_it(
    frame: bytes, kind: type[ClusterError], status: int
) -> None:
    with balancing(lambda asked: frame) as up, Client(up.address) as client:
        with pytest.raises(ClusterError) as caught:
            client.call(1)
        assert client.send(1).status == status
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_the_header_says_what_the_caller_wants() -> None:
    with balancing() as up, Client(up.address, timeout=7) as client:
        client.call(1)
        client.call(2, timeout=0.5, once=True, route="gpu", key="session")
        client.call(3, id="mine")
        client.call(4, try_timeout=0.25, priority=0)
        list(client.map([5], try_timeout=2, priority=2))
    first, second, third, hurried, patient = up.asked
    assert (first.header.id, third.header.id) == (None, "mine")
    assert first.header.timeout_s == pytest.approx(7, abs=SLACK_S)
    assert (first.header.once, first.header.route, first.header.key) == (False, None, None)
    assert second.header.timeout_s == pytest.approx(0.5, abs=SLACK_S)
    assert (second.header.once, second.header.route, second.header.key) == (True, "gpu", "session")
    assert (first.header.try_timeout_s, first.header.priority) == (None, 1)
    assert (hurried.header.try_timeout_s, hurried.header.priority) == (0.25, 0)
    assert (patient.header.try_timeout_s, patient.header.priority) == (2.0, 2)


@pytest.mark.parametrize("payload", [object(), {1, 2}, 2**64, "\ud800"])
def test_what_msgpack_cannot_carry_is_refused_and_not_sent(payload: Any) -> None:
    with balancing() as up, Client(up.address) as client:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            client.call(payload)
        client.call("after")
        assert [asked.payload for asked in up.asked] == ["after"]


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan, "5s", True, [1]])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    complaint = r"timeout must be a (positive )?number of seconds, not "
    with Client() as client:
        with pytest.raises((TypeError, ValueError), match=f"^{complaint}"):
            client.call(1, timeout=timeout)
        with pytest.raises((TypeError, ValueError), match=f"^try_{complaint}"):
            client.call(1, try_timeout=timeout)
    with pytest.raises((TypeError, ValueError), match=f"^{complaint}"):
        Client(timeout=timeout)


@pytest.mark.parametrize("priority", [-1, 3, "high", 0.5, 1.0, True])
def test_a_priority_that_is_none_is_refused(priority: Any) -> None:
    with Client() as client, pytest.raises(ValueError, match="priority must be 0"):
        client.call(1, priority=priority)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:port", [], ["tcp://[", "x"]])
def test_an_address_that_is_none_is_refused(address: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"connect to.*give an address such as 'tcp://127"):
        Client(address)
    with pytest.raises(ValueError, match=r"connect to.*give an address such as 'tcp://127"):
        Client(["tcp://127.0.0.1:5555", *address] if address else address)


@pytest.mark.parametrize("address", [5555, None, [5555], {"tcp://127.0.0.1:5555"}])
def test_an_address_is_a_text_or_several_in_order(address: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot connect to .*: give an address such as"):
        Client(address)


# --- time ---------------------------------------------------------------------------------------


def test_a_silent_balancer_costs_the_timeout_and_no_more() -> None:
    with balancing(silence) as up, Client(up.address) as client:
        started = monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            client.call(1, timeout=0.2)
        assert 0.2 <= monotonic() - started < 0.2 + SLACK_S
    assert caught.value.reason == "deadline"
    assert caught.value.may_have_run


def test_the_balancers_own_504_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "GRACE_S", SLACK_S)  # a loaded machine is later than it allows for
    late = Later(0.22, refused(Reason.DEADLINE))
    with balancing(lambda asked: late) as up, Client(up.address) as client:
        with pytest.raises(DeadlineExceeded, match="The request's time was spent") as caught:
            client.call(1, timeout=0.2)
        assert not caught.value.may_have_run


def test_a_late_answer_reaches_nobody() -> None:
    def answer(asked: Asked) -> Answer:
        return Later(0.3, answered("late")) if asked.payload == "slow" else echo(asked)

    with balancing(answer) as up, Client(up.address) as client:
        assert client.send("slow", timeout=0.1).status == 504
        started = monotonic()
        while monotonic() < started + 0.4:
            assert client.call("quick") == "quick"


def test_nobody_listening_is_said_with_the_address_when_the_time_is_over() -> None:
    port = free_port()
    with Client(f"tcp://127.0.0.1:{port}") as client:
        started = monotonic()
        with pytest.raises(
            Unavailable, match=f"No balancer answers at tcp://127.0.0.1:{port}"
        ) as no:
            client.call(1, timeout=0.3)
        assert 0.3 <= monotonic() - started < 0.3 + SLACK_S
    assert no.value.reason == "unreachable"
    assert not no.value.may_have_run


def test_the_time_that_a_request_waited_for_its_balancer_is_taken_off() -> None:
    port = free_port()
    with Client(f"tcp://127.0.0.1:{port}") as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.call, 1, timeout=5, once=True)
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        with balancing(port=port) as up:
            assert answer.result(PATIENCE_S) == 1
            assert up.asked[0].header.timeout_s is not None
            assert up.asked[0].header.timeout_s < 4.8


# --- balancers that die -------------------------------------------------------------------------


def test_what_a_dead_balancer_owes_is_asked_of_its_successor(pool: ThreadPoolExecutor) -> None:
    with balancing(silence) as first, Client(first.address) as client:
        calls = [pool.submit(client.call, number) for number in range(8)]
        first.wait_for(8)
        first.stop()
        with balancing(port=first.port) as second:
            assert [call.result(PATIENCE_S) for call in calls] == list(range(8))
            assert len(second.asked) == 8


def test_once_is_not_sent_again_when_its_balancer_dies(pool: ThreadPoolExecutor) -> None:
    with balancing(silence) as first, Client(first.address) as client:
        call = pool.submit(client.send, "pay", once=True)
        first.wait_for(1)
        first.stop()
        with balancing(port=first.port) as second:
            reply = call.result(PATIENCE_S)
            client.call("after")
            assert [asked.payload for asked in second.asked] == ["after"]
    assert (reply.status, reply.reason, reply.may_have_run) == (503, "connection_lost", True)


def test_once_is_sent_again_by_its_name_to_the_same_life(pool: ThreadPoolExecutor) -> None:
    with balancing(silence, life="one") as first, Client(first.address) as client:
        calls = [pool.submit(client.call, number, once=True) for number in range(3)]
        first.wait_for(3)
        first.stop()
        with balancing(port=first.port, life="one") as second:
            assert [call.result(PATIENCE_S) for call in calls] == [0, 1, 2]
    names = [{asked.payload: asked.header.id for asked in up.asked} for up in (first, second)]
    assert names[0] == names[1]
    assert len(set(names[0].values())) == 3
    assert {type(name) for name in names[0].values()} == {bytes}


def test_once_that_may_have_run_ends_as_lost_and_not_as_a_duplicate(
    pool: ThreadPoolExecutor,
) -> None:
    with balancing(silence, life="one") as first, Client(first.address) as client:
        call = pool.submit(client.send, "pay", once=True)
        first.wait_for(1)
        first.stop()
        duplicate = refused(Reason.DUPLICATE, may_have_run=True)
        with balancing(lambda asked: duplicate, port=first.port, life="one"):
            reply = call.result(PATIENCE_S)
            with pytest.raises(Duplicate):
                client.call("by hand", once=True, id="twice")
    assert (reply.status, reply.reason, reply.may_have_run) == (503, "connection_lost", True)


def test_once_is_not_sent_again_to_whom_tells_of_no_life(pool: ThreadPoolExecutor) -> None:
    with balancing(silence, life="") as first, Client(first.address) as client:
        call = pool.submit(client.send, "pay", once=True)
        first.wait_for(1)
        first.stop()
        # It ends without another balancer: none could tell that it is the same cluster.
        reply = call.result(PATIENCE_S)
    assert (reply.status, reply.reason, reply.may_have_run) == (503, "connection_lost", True)


def test_once_is_given_up_after_as_many_losses_as_others(pool: ThreadPoolExecutor) -> None:
    port = free_port()
    with Client(f"tcp://127.0.0.1:{port}") as client:
        call = pool.submit(client.send, "pay", once=True)
        for _ in range(LOSSES_MAX):
            with balancing(silence, port=port, life="one") as up:
                up.wait_for(1)
        assert call.result(PATIENCE_S).reason == "connection_lost"


def test_once_that_waits_for_its_cluster_ends_with_its_time(pool: ThreadPoolExecutor) -> None:
    with balancing(silence, life="one") as first, Client(first.address) as client:
        began_at = monotonic()
        call = pool.submit(client.send, "pay", once=True, timeout=1.0)
        first.wait_for(1)
        first.stop()
        reply = call.result(PATIENCE_S)
        assert monotonic() - began_at < 1.0 + SLACK_S
    assert (reply.reason, reply.may_have_run) == ("connection_lost", True)


def test_once_that_was_never_handed_over_is_sent_to_any_life(pool: ThreadPoolExecutor) -> None:
    with balancing(hello=False) as first, Client(first.address) as client:
        once = pool.submit(client.call, "once", once=True)
        assert client.call("others do not wait") == "others do not wait"
        first.stop()
        with balancing(port=first.port) as second:
            assert once.result(PATIENCE_S) == "once"
    assert [asked.payload for asked in first.asked] == ["others do not wait"]
    assert [asked.payload for asked in second.asked] == ["once"]


@pytest.mark.parametrize("id", [7, "x" * 256, b"x" * 256, "\ud800"])
def test_an_id_that_is_none_is_refused(id: Any) -> None:
    with Client() as client, pytest.raises((TypeError, ValueError)):
        client.call(1, id=id)


@pytest.mark.parametrize("reason", [Reason.DRAINING, Reason.DEADLINE])
def test_what_was_lost_with_one_balancer_may_have_run_whatever_the_next_one_says(
    pool: ThreadPoolExecutor, reason: Reason
) -> None:
    with balancing(silence) as first, Client(first.address) as client:
        call = pool.submit(client.send, 1)
        first.wait_for(1)
        first.stop()
        refusal = refused(reason)
        with balancing(lambda asked: refusal, port=first.port):
            assert call.result(PATIENCE_S).may_have_run
            assert not client.send(2).may_have_run


def test_a_balancer_that_restarted_while_the_client_was_idle_costs_no_wait() -> None:
    with balancing() as first, Client(first.address) as client:
        client.call(1)
        first.stop()
        with balancing(port=first.port):
            started = monotonic()
            assert client.call(2) == 2
            assert monotonic() - started < SLACK_S


def test_an_answer_that_came_before_the_death_counts(pool: ThreadPoolExecutor) -> None:
    with balancing() as first, Client(first.address) as client:
        client.call("connected")
        answers = client.map(range(2), window=2, once=True)
        assert next(answers) == 0
        first.wait_for(3)
        first.stop()
        assert next(answers) == 1


def test_the_next_address_is_asked_where_nobody_listens_or_a_balancer_dies() -> None:
    with balancing() as first, balancing() as second:
        nobody = f"tcp://127.0.0.1:{free_port()}"
        with Client([nobody, first.address, second.address]) as client:
            assert client.call(1) == 1
            assert len(first.asked) == 1
            first.stop()
            assert client.call(2) == 2
            assert [asked.payload for asked in second.asked] == [2]


def test_a_listener_that_does_not_speak_is_left_for_the_next_address() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        balancing() as up,
        Client([f"tcp://127.0.0.1:{mute.getsockname()[1]}", up.address]) as client,
    ):
        started = monotonic()
        assert client.call(1) == 1
        assert monotonic() - started < 2


def test_a_request_that_the_balancer_cannot_take_ends_and_spares_the_others(
    pool: ThreadPoolExecutor,
) -> None:
    def answer(asked: Asked) -> Answer:
        return Later(1.0, answered(asked.payload))

    with balancing(answer) as up, Client(up.address) as client:
        neighbour = pool.submit(client.call, "neighbour")
        up.wait_for(1)
        with pytest.raises(Unavailable) as caught:
            client.call(bytes(33 * 1024 * 1024))
        assert caught.value.reason == "connection_lost"
        assert neighbour.result(PATIENCE_S) == "neighbour"


def test_a_balancer_that_hangs_up_again_and_again_is_asked_three_times() -> None:
    up = FakeBalancer(silence)
    with Client(up.address) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.send, 1)
        for _ in range(3):
            up.wait_for(1)
            up.stop()
            up = FakeBalancer(silence, up.port)
        reply = call.result(PATIENCE_S)
        up.stop()
    assert (reply.status, reply.reason, len(up.asked)) == (503, "connection_lost", 0)


FROZEN = """
import os, sys
from tests.shell.fake_balancer import FakeBalancer
print(FakeBalancer().address, flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_client_says_that_it_cannot_be_used_after_a_fork() -> None:
    with balancing() as up:
        code = f"""
import os
from balancer import Client
client = Client({up.address!r}, timeout=5)
assert client.call(1) == 1
child = os.fork()
if child == 0:
    try:
        client.call(2)
    except RuntimeError as error:
        os._exit("fork" in str(error) and 7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.call(3) == 3
"""
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_balancer_that_freezes_is_left_for_the_next_address() -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", FROZEN],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        balancing() as up,
    ):
        assert process.stdout
        try:
            with Client([process.stdout.readline().strip(), up.address]) as client:
                assert client.call(1) == 1
                process.send_signal(signal.SIGSTOP)
                wait_until(lambda: is_stopped(process.pid))
                started = monotonic()
                assert client.call(2, timeout=PATIENCE_S) == 2
                assert monotonic() - started < 6
        finally:
            process.kill()
    assert [asked.payload for asked in up.asked] == [2]


def test_what_nobody_waits_for_any_more_is_not_sent_again() -> None:
    def interrupt(signal_number: int, frame: object) -> None:
        raise Interrupted

    with balancing(silence) as first, Client(first.address) as client:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for asks in (client.call, lambda item: list(client.map([item, item]))):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(Interrupted):
                    asks("dropped")
        finally:
            signal.signal(signal.SIGALRM, before)
        first.wait_for(3)
        first.stop()
        with balancing(port=first.port) as second:
            assert client.call("after") == "after"
            assert [asked.payload for asked in second.asked] == ["after"]


def test_no_sleep_is_so_long_that_a_ctrl_c_just_before_it_would_seem_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeps_ms: list[float] = []

    class Poll:
        def __init__(self, poll: Any = select.poll) -> None:
            self._poll = poll()
            self.register = self._poll.register

        def poll(self, sleep_ms: float) -> Any:
            sleeps_ms.append(sleep_ms)
            return self._poll.poll(sleep_ms)

    monkeypatch.setattr(select, "poll", Poll)
    with balancing(silence) as up, Client(up.address) as client:
        assert client.send("never", timeout=SLEEP_MAX_S + 0.5).status == 504
    assert SLEEP_MAX_S * 900 < max(sleeps_ms) <= SLEEP_MAX_S * 1000 <= 1000


def test_a_follower_does_not_sleep_longer_either() -> None:
    waiter, began_at = Waiter(), monotonic()
    assert waiter.sleep(math.inf) is None
    assert SLEEP_MAX_S * 0.9 < monotonic() - began_at < SLEEP_MAX_S + SLACK_S


# --- threads ------------------------------------------------------------------------------------


def test_threads_share_the_connection_and_each_gets_its_own_answers(
    pool: ThreadPoolExecutor,
) -> None:
    def ask(thread: int) -> bool:
        return all(client.call([thread, number]) == [thread, number] for number in range(100))

    with balancing(shuffled) as up, Client(up.address) as client:
        assert all(pool.map(ask, range(8)))
        assert up.most_open > 4


def test_the_client_has_no_thread_of_its_own() -> None:
    with balancing() as up:
        before = threading.active_count()
        with Client(up.address) as client:
            client.call(1)
            assert threading.active_count() == before


def test_a_follower_with_the_shorter_time_is_told_in_time(pool: ThreadPoolExecutor) -> None:
    with balancing(silence) as up, Client(up.address) as client:
        leader = pool.submit(client.send, "leader", timeout=2)
        up.wait_for(1)
        started = monotonic()
        assert client.send("follower", timeout=0.2).status == 504
        assert monotonic() - started < 0.2 + SLACK_S
        assert not leader.done()


def test_the_leader_that_leaves_appoints_another(pool: ThreadPoolExecutor) -> None:
    def answer(asked: Asked) -> Answer:
        return Later(asked.payload, answered(asked.payload))

    with balancing(answer) as up, Client(up.address) as client:
        calls: list[Future[Any]] = []
        for number, after_s in enumerate((0.1, 0.3, 0.2, 0.4)):
            calls.append(pool.submit(client.call, after_s))
            up.wait_for(number + 1)
        assert [call.result(PATIENCE_S) for call in calls] == [0.1, 0.3, 0.2, 0.4]


def test_an_interrupted_call_leaves_the_client_and_the_followers_at_work(
    pool: ThreadPoolExecutor,
) -> None:
    def interrupt(signal_number: int, frame: object) -> None:
        raise Interrupted

    def answer(asked: Asked) -> Answer:
        return None if asked.payload == "never" else Later(0.3, answered(asked.payload))

    with balancing(answer) as up, Client(up.address) as client:

        def follow() -> Any:
            up.wait_for(1)
            return client.call("follower")

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            follower = pool.submit(follow)
            with pytest.raises(Interrupted):
                client.call("never")
        finally:
            signal.signal(signal.SIGALRM, before)
        assert follower.result(PATIENCE_S) == "follower"
        assert client.call("after") == "after"


# A socket whose opening was interrupted is left to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_moment_never_mix_up_answers() -> None:
    def interrupt(signal_number: int, frame: object) -> None:
        raise Interrupted

    interrupts = 0
    with balancing() as up, Client(up.address) as client:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for number in range(300):
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0006))
                    assert client.call(number) == number
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert client.call("after") == "after"
    assert interrupts


# --- closing ------------------------------------------------------------------------------------


def test_closing_ends_the_calls_of_other_threads(pool: ThreadPoolExecutor) -> None:
    with balancing(silence) as up:
        client = Client(up.address)
        calls = [pool.submit(client.send, number) for number in range(3)]
        up.wait_for(3)
        client.close()
        client.close()
        assert {call.result(PATIENCE_S).reason for call in calls} == {"connection_lost"}
        with pytest.raises(RuntimeError, match="closed"):
            client.call(1)


def test_a_closed_client_leaves_nothing_open() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with balancing() as up:
        with Client(up.address) as client:
            client.call(1)
        before = descriptors()
        for _ in range(5):
            with Client([up.address, "tcp://127.0.0.1:1"]) as client:
                client.call(1)
        wait_until(lambda: descriptors() <= before)


@pytest.mark.parametrize("asks", ["client.call(1)", "next(client.map([1, 2, 3]))", "pass"])
def test_a_program_that_forgets_to_close_still_ends(asks: str) -> None:
    with balancing() as up:
        code = f"from balancer import Client; client = Client({up.address!r}); {asks}"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE_S)


def test_the_clients_are_there_on_demand() -> None:
    code = """
import sys, balancer
assert "zmq" not in sys.modules
from balancer import Client
assert "asyncio" not in sys.modules
from balancer import AsyncClient
from balancer.client import AsyncClient as Same
assert AsyncClient is Same and "asyncio" in sys.modules
try:
    balancer.Nothing
except AttributeError:
    print("done")
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert run.stdout == b"done\n"


# --- map ----------------------------------------------------------------------------------------


def test_map_keeps_the_order_with_hundreds_in_flight() -> None:
    with balancing(shuffled) as up, Client(up.address) as client:
        assert list(client.map(range(4000), window=500)) == list(range(4000))
        assert 100 < up.most_open <= 500


def test_map_takes_no_more_of_its_iterable_than_it_needs() -> None:
    taken = count()
    with balancing() as up, Client(up.address) as client:
        answers = client.map(taken, window=4)
        assert list(islice(answers, 10)) == list(range(10))
        assert next(taken) < 10 + 8 * 4
        assert client.call("between") == "between"
        assert next(answers) == 10
    assert list(client.map([])) == []


def crowded(places: int, refusal: Answer) -> Any:
    """Answers after 10 ms, and refuses what comes while so many are being answered."""
    free_at = [0.0] * places

    def answer(asked: Asked) -> Answer:
        place = free_at.index(min(free_at))
        if free_at[place] > asked.at:
            return refusal
        free_at[place] = asked.at + 0.01
        return Later(0.01, answered(asked.payload))

    return answer


@pytest.mark.parametrize(
    "refusal",
    [
        refused(Reason.CLIENT_LIMIT),
        refused(Reason.QUEUE_FULL, retry_after_s=0.005),
        refused(Reason.QUEUE_TIMEOUT),
        Later(0.02, refused(Reason.DEADLINE)),
    ],
)
@pytest.mark.parametrize("once", [False, True])
def test_map_does_not_fail_because_it_sends_too_much(refusal: Answer, once: bool) -> None:
    with balancing(crowded(4, refusal)) as up, Client(up.address) as client:
        assert list(client.map(range(100), once=once)) == list(range(100))
        assert 100 < len(up.asked) < 400


def test_map_raises_what_fails_alone() -> None:
    with balancing(lambda asked: refused(Reason.QUEUE_FULL)) as up, Client(up.address) as client:
        with pytest.raises(Overloaded):
            list(client.map(range(100)))
        assert len(up.asked) < 100


def test_map_gives_the_answers_before_the_failure_first() -> None:
    def answer(asked: Asked) -> Answer:
        return failed("ValueError: 7") if asked.payload == 7 else shuffled(asked)

    with balancing(answer) as up, Client(up.address) as client:
        answers = client.map(range(1000))
        assert list(islice(answers, 7)) == list(range(7))
        with pytest.raises(HandlerError, match="ValueError: 7"):
            next(answers)
        assert len(up.asked) < 50


def test_map_does_not_repeat_once_items_that_may_have_run() -> None:
    refusal = refused(Reason.DEADLINE, may_have_run=True)
    with balancing(lambda asked: refusal) as up, Client(up.address) as client:
        with pytest.raises(DeadlineExceeded):
            list(client.map(range(5), once=True))
        payloads = [asked.payload for asked in up.asked]
        assert sorted(payloads) == sorted(set(payloads))


def test_map_waits_as_long_as_the_balancer_asks() -> None:
    refusals = iter([refused(Reason.QUEUE_FULL, retry_after_s=0.3)])

    def answer(asked: Asked) -> Answer:
        return next(refusals, None) or echo(asked)

    with balancing(answer) as up, Client(up.address) as client:
        assert list(client.map(range(2))) == [0, 1]
        assert up.asked[2].at - up.asked[0].at >= 0.3


def test_map_survives_its_balancer() -> None:
    with balancing(shuffled) as first, Client(first.address) as client:
        answers = client.map(range(300))
        got = list(islice(answers, 100))
        first.stop()
        with balancing(shuffled, first.port):
            got += answers
    assert got == list(range(300))


def test_map_says_at_once_that_nobody_listens() -> None:
    started = monotonic()
    with Client(f"tcp://127.0.0.1:{free_port()}") as client, pytest.raises(Unavailable):
        list(client.map(range(100), timeout=0.2))
    assert monotonic() - started < 0.2 + SLACK_S


def test_a_map_that_is_left_early_leaves_the_client_at_work() -> None:
    with balancing(shuffled) as up, Client(up.address) as client:
        for body in client.map(range(1000)):
            if body == 20:
                break
        assert client.call("after") == "after"


def test_maps_of_several_threads_share_the_client(pool: ThreadPoolExecutor) -> None:
    def run(thread: int) -> bool:
        items = [[thread, number] for number in range(200)]
        return list(client.map(items)) == items

    with balancing(shuffled) as up, Client(up.address) as client:
        assert all(pool.map(run, range(4)))


def test_map_refuses_a_window_that_is_none_and_items_that_cannot_be_sent() -> None:
    with balancing() as up, Client(up.address) as client:
        with pytest.raises(ValueError, match="window"):
            client.map([1], window=0)
        with pytest.raises(TypeError):
            list(client.map([1, object()]))
        assert client.call("after") == "after"


def test_map_can_hand_back_errors_in_the_place_of_answers() -> None:
    def answer(asked: Asked) -> Answer:
        return failed(f"ValueError: {asked.payload}") if asked.payload % 3 else echo(asked)

    with balancing(answer) as up, Client(up.address) as client:
        answers = list(client.map(range(100), return_exceptions=True))
        assert len(up.asked) == 100
    assert [one if isinstance(one, int) else str(one) for one in answers] == [
        f"ValueError: {number}" if number % 3 else number for number in range(100)
    ]
    assert all(isinstance(one, int | HandlerError) for one in answers)
