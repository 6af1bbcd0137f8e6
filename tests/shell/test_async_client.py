"""The client for asyncio: the same promises, and those that only tasks can break."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from time import monotonic
from typing import Any

import pytest

from balancer.client import AsyncClient
from balancer.core.events import Reason
from balancer.errors import DeadlineExceeded, HandlerError, Overloaded, Unavailable
from tests.shell.fake_balancer import (
    PATIENCE_S,
    Answer,
    Asked,
    Later,
    answered,
    balancing,
    echo,
    failed,
    free_port,
    refused,
    silence,
)

SLACK_S = 0.3


def run(main: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main

    asyncio.run(in_time())


def shuffled(asked: Asked) -> Answer:
    return Later(random.uniform(0.0, 0.02), answered(asked.payload))


async def numbers(count: int, pause_s: float = 0.0) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(pause_s)
        yield number


async def anext_of(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers)


async def has_come(up: Any, count: int) -> None:
    await asyncio.to_thread(up.wait_for, count)


def test_a_call_returns_the_body_or_raises_and_send_returns_the_reply() -> None:
    def answer(asked: Asked) -> Answer:
        return failed("ValueError: no") if asked.payload == "bad" else echo(asked)

    async def main() -> None:
        async with AsyncClient(up.address, timeout=7) as client:
            answer = await client.call({"a": 1}, once=True, route="gpu", key="k", id=b"mine")
            assert answer == {"a": 1}
            assert (await client.send("bad")).status == 500
            with pytest.raises(HandlerError):
                await client.call("bad")
            with pytest.raises(TypeError):
                await client.call(object())

    with balancing(answer) as up:
        run(main())
    header = up.asked[0].header
    assert (header.once, header.route, header.key, header.id) == (True, "gpu", "k", b"mine")
    assert header.timeout_s == pytest.approx(7, abs=SLACK_S)


def test_five_hundred_calls_in_flight_get_their_own_answers() -> None:
    async def main() -> None:
        async with AsyncClient(up.address) as client:
            calls = [client.call(number) for number in range(500)]
            assert await asyncio.gather(*calls) == list(range(500))

    def answer(asked: Asked) -> Answer:
        return Later(random.uniform(0.3, 0.5), answered(asked.payload))

    with balancing(answer) as up:
        run(main())
        assert up.most_open > 400


def test_a_silent_balancer_costs_the_timeout_and_no_more() -> None:
    async def main() -> None:
        async with AsyncClient(up.address) as client:
            long = asyncio.create_task(client.call("long", timeout=5))
            started = monotonic()
            with pytest.raises(DeadlineExceeded):
                await client.call(1, timeout=0.2)
            assert 0.2 <= monotonic() - started < 0.2 + SLACK_S
            long.cancel()

    with balancing(silence) as up:
        run(main())


def test_nobody_listening_is_said_when_the_time_is_over() -> None:
    async def main() -> None:
        async with AsyncClient(f"tcp://127.0.0.1:{free_port()}") as client:
            with pytest.raises(Unavailable, match=r"No balancer answers at tcp://127\.0\.0\.1"):
                await client.call(1, timeout=0.3)

    run(main())


def test_a_cancelled_call_is_dropped_and_its_late_answer_reaches_nobody() -> None:
    def answer(asked: Asked) -> Answer:
        return Later(0.1, answered("late")) if asked.payload == "slow" else echo(asked)

    async def main() -> None:
        async with AsyncClient(up.address) as client:
            call = asyncio.create_task(client.call("slow"))
            await has_come(up, 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            started = monotonic()
            while monotonic() < started + 0.2:
                assert await client.call("quick") == "quick"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.call("slow")
            assert await client.call("quick") == "quick"

    with balancing(answer) as up:
        run(main())


def test_what_a_dead_balancer_owes_is_asked_of_its_successor_but_for_once() -> None:
    async def main() -> None:
        async with AsyncClient(first.address) as client:
            calls = [asyncio.create_task(client.call(number)) for number in range(5)]
            once = asyncio.create_task(client.send("once", once=True))
            await has_come(first, 6)
            await asyncio.to_thread(first.stop)
            with balancing(port=first.port) as second:
                reply = await once
                assert (reply.status, reply.reason) == (503, "connection_lost")
                assert reply.may_have_run
                assert await asyncio.gather(*calls) == list(range(5))
            assert len(second.asked) == 5

    with balancing(silence) as first:
        run(main())


def test_what_nobody_waits_for_any_more_is_not_sent_again() -> None:
    async def main() -> None:
        async with AsyncClient(first.address) as client:
            asks = [client.call("dropped"), anext_of(client.map(["dropped", "dropped"]))]
            for task in [asyncio.create_task(ask) for ask in asks]:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(task, 0.1)
            await has_come(first, 3)
            await asyncio.to_thread(first.stop)
            with balancing(port=first.port) as second:
                assert await client.call("after") == "after"
                assert [asked.payload for asked in second.asked] == ["after"]

    with balancing(silence) as first:
        run(main())


def test_the_next_address_is_asked_where_nobody_listens() -> None:
    async def main() -> None:
        async with AsyncClient([f"tcp://127.0.0.1:{free_port()}", up.address]) as client:
            assert await client.call(1) == 1

    with balancing() as up:
        run(main())


def test_closing_ends_the_calls_of_other_tasks() -> None:
    async def main() -> None:
        client = AsyncClient(up.address)
        call = asyncio.create_task(client.send(1))
        await has_come(up, 1)
        await client.close()
        await client.close()
        assert (await call).reason == "connection_lost"
        with pytest.raises(RuntimeError, match="closed"):
            await client.call(1)

    with balancing(silence) as up:
        run(main())


def test_a_client_belongs_to_one_loop() -> None:
    async def main(client: AsyncClient) -> None:
        await client.call(1)

    with balancing() as up:
        client = AsyncClient(up.address)
        asyncio.run(main(client))
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(main(client))
        asyncio.run(client.close())


def test_map_keeps_the_order_of_either_kind_of_iterable() -> None:
    async def main() -> None:
        async with AsyncClient(up.address) as client:
            assert [body async for body in client.map(range(500))] == list(range(500))
            assert [body async for body in client.map(numbers(500))] == list(range(500))
            assert [body async for body in client.map([])] == []
            assert [body async for body in client.map(numbers(0))] == []

    with balancing(shuffled) as up:
        run(main())


def test_map_gives_answers_while_the_next_payload_is_still_to_come() -> None:
    async def endless() -> AsyncIterator[int]:
        yield 0
        yield 1
        await asyncio.Event().wait()

    async def main() -> None:
        async with AsyncClient(up.address) as client:
            answers = client.map(endless())
            assert [await anext(answers), await anext(answers)] == [0, 1]
            rest = asyncio.create_task(anext_of(answers))
            await asyncio.sleep(0)
            rest.cancel()
            with pytest.raises(asyncio.CancelledError):
                await rest
            assert len(asyncio.all_tasks()) == 1, "nobody fetches any more"
            assert await client.call("after") == "after"

    with balancing() as up:
        run(main())


def test_map_does_not_fail_because_it_sends_too_much() -> None:
    free_at = [0.0] * 4

    def answer(asked: Asked) -> Answer:
        place = free_at.index(min(free_at))
        if free_at[place] > asked.at:
            return refused(Reason.QUEUE_FULL, retry_after_s=0.002)
        free_at[place] = asked.at + 0.005
        return Later(0.005, answered(asked.payload))

    async def main() -> None:
        async with AsyncClient(up.address) as client:
            assert [body async for body in client.map(range(100))] == list(range(100))

    with balancing(answer) as up:
        run(main())
        assert len(up.asked) > 100


def test_map_raises_what_fails_alone_and_what_the_iterable_raises() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise LookupError("no more")

    async def main() -> None:
        async with AsyncClient(up.address) as client:
            with pytest.raises(Overloaded):
                await anext(client.map(range(10)))
            with pytest.raises(LookupError, match="no more"):
                await anext(client.map(broken()))

    with balancing(lambda asked: refused(Reason.QUEUE_FULL)) as up:
        run(main())


def test_map_can_hand_back_errors_in_the_place_of_answers() -> None:
    def answer(asked: Asked) -> Answer:
        return failed("ValueError: odd") if asked.payload % 2 else echo(asked)

    async def main() -> None:
        async with AsyncClient(up.address) as client:
            answers = [one async for one in client.map(numbers(10), return_exceptions=True)]
        assert [one for one in answers if isinstance(one, int)] == [0, 2, 4, 6, 8]
        assert [type(one) for one in answers[1::2]] == [HandlerError] * 5

    with balancing(answer) as up:
        run(main())
