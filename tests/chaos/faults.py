"""How each kind of fault is done to a world, and undone again."""

import asyncio
import contextlib
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable

from tests.chaos import wishes
from tests.chaos.processes import held
from tests.chaos.reloading import reload
from tests.chaos.wishes import Wish
from tests.chaos.world import World, until

IDLE_CONNECTIONS = 60
SPARE_DESCRIPTORS = 8
GONE_TIMEOUT_S = 10.0

Deed = Callable[[World, random.Random], Awaitable[bool]]
"""Returns when the fault is over; False if there was nothing to do it to."""


async def inject(world: World, kind: str, seed: int) -> bool:
    """Do it, and write down from when to when it lasted."""
    began_at = time.monotonic()
    has_happened = await FAULTS[kind](world, random.Random(seed))
    if has_happened:
        world.journal.append("fault", kind=kind, began_at=began_at, ended_at=time.monotonic())
    return has_happened


# --- signals ------------------------------------------------------------------------------------


async def kill_worker(world: World, dice: random.Random) -> bool:
    workers = world.cluster.workers()
    if not workers:
        return False
    with held(dice.choice(workers)) as target:
        return target.send(signal.SIGKILL)


async def kill_balancer(world: World, dice: random.Random) -> bool:
    balancer = world.cluster.balancer()
    if balancer is None:
        return False
    with held(balancer) as target:
        has_happened = target.send(signal.SIGKILL)
    if has_happened:
        await until(lambda: world.cluster.balancer() not in (None, balancer), GONE_TIMEOUT_S)
    return has_happened


async def stop_worker(world: World, dice: random.Random) -> bool:
    workers = world.cluster.workers()
    return bool(workers) and await _freeze(dice.choice(workers), dice.uniform(0.1, 4.0))


async def stop_balancer(world: World, dice: random.Random) -> bool:
    balancer = world.cluster.balancer()
    return balancer is not None and await _freeze(balancer, dice.uniform(0.1, 2.0))


async def _freeze(pid: int, seconds: float) -> bool:
    with held(pid) as target:
        has_happened = target.send(signal.SIGSTOP)
        try:
            if has_happened:
                await asyncio.sleep(seconds)
        finally:
            target.send(signal.SIGCONT)
    return has_happened


# --- the whole cluster --------------------------------------------------------------------------


async def kill_launcher(world: World, dice: random.Random) -> bool:
    async with world.is_changing:
        world.cluster.launcher.kill()
        world.cluster.launcher.wait()
        world.cluster.start_again()
        await world.wait_until_serving()
    return True


async def drain(world: World, dice: random.Random) -> bool:
    async with world.is_changing:
        await world.stop_cluster()
        world.cluster.start_again()
        await world.wait_until_serving()
    return True


async def take_descriptors(world: World, dice: random.Random) -> bool:
    """Leave the balancer hardly any descriptors, and use them up."""
    balancer = world.cluster.balancer()
    if balancer is None:
        return False
    host, _, port = world.cluster.address.removeprefix("tcp://").partition(":")
    with held(balancer) as target, contextlib.ExitStack() as stack:
        has_happened = target.limit_descriptors(SPARE_DESCRIPTORS)
        for _ in range(IDLE_CONNECTIONS):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((host, int(port)))
        await asyncio.sleep(dice.uniform(0.2, 0.6))
        target.free_descriptors()
    return has_happened


async def turn_deaf(world: World, dice: random.Random) -> bool:
    """Leave the log unread, while there is much to be written."""
    world.cluster.is_heard = False
    chatter = asyncio.create_task(world.ask(wishes.chatter(dice)))
    try:
        await asyncio.sleep(dice.uniform(0.5, 2.0))
    finally:
        world.cluster.is_heard = True
    await chatter
    return True


# --- the network --------------------------------------------------------------------------------


async def delay(world: World, dice: random.Random) -> bool:
    world.proxy.latency_s = dice.uniform(0.005, 0.1)
    await asyncio.sleep(dice.uniform(0.2, 1.5))
    world.proxy.latency_s = 0.0
    return True


async def slice_up(world: World, dice: random.Random) -> bool:
    world.proxy.is_slicing = True
    await asyncio.sleep(dice.uniform(0.2, 1.5))
    world.proxy.is_slicing = False
    return True


async def reset(world: World, dice: random.Random) -> bool:
    world.proxy.reset()
    return True


async def swallow(world: World, dice: random.Random) -> bool:
    """Nothing comes through; then all of it does, or the connections are cut."""
    world.proxy.swallow()
    await asyncio.sleep(dice.uniform(0.1, 2.5))
    if dice.random() < 0.5:
        world.proxy.reset()
    world.proxy.release()
    return True


# --- clients and what they ask for --------------------------------------------------------------


async def kill_client(world: World, dice: random.Random) -> bool:
    if not world.clients:
        return False
    world.kill_client(*dice.choice(sorted(world.clients)))
    return True


def asking(wish: Callable[[random.Random], Wish]) -> Deed:
    async def ask(world: World, dice: random.Random) -> bool:
        await world.ask(wish(dice))
        return True

    return ask


FAULTS: dict[str, Deed] = {
    "kill": kill_worker,
    "stop": stop_worker,
    "kill-balancer": kill_balancer,
    "stop-balancer": stop_balancer,
    "kill-launcher": kill_launcher,
    "drain": drain,
    "reload": reload,
    "descriptors": take_descriptors,
    "deaf": turn_deaf,
    "latency": delay,
    "slices": slice_up,
    "reset": reset,
    "blackhole": swallow,
    "kill-client": kill_client,
    "crash": asking(wishes.crash),
    "hang": asking(wishes.hang),
    "leak": asking(wishes.leak),
    "empty": asking(wishes.empty),
    "garbage": asking(wishes.garbage),
    "large": asking(wishes.large),
    "slow": asking(wishes.slow),
    "raise": asking(wishes.raising),
    "chatter": asking(wishes.chatter),
}
