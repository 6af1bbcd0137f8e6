"""The fault that is none: a new configuration, which every worker is to follow, or to refuse."""

import asyncio
import random
import signal
import time

from tests.chaos.checks import Violation
from tests.chaos.configuration import BAD, WORKERS
from tests.chaos.world import World, until

CHECK = "C13 reload"
FOLLOW_TIMEOUT_S = 20.0
"""Four processes one after another, while others are killed."""
REFUSE_TIMEOUT_S = 10.0
BAD_SHARE = 0.3
REFUSED, STOPPED = "reload refused", "reload stopped at"


async def reload(world: World, dice: random.Random) -> bool:
    """Have every worker replaced, while whatever else goes on: no client is to notice."""
    async with world.is_changing:  # a launcher that has just been started knows no signals yet
        if dice.random() < BAD_SHARE:
            await _offer_bad(world, dice.choice(sorted(BAD)))
        edition = world.configuration.renew()
        world.cluster.launcher.send_signal(signal.SIGHUP)
    await _wait_until_followed(world, edition)
    return True


async def _offer_bad(world: World, kind: str) -> None:
    """The old configuration is to stay, and a line to say why."""
    refusals = world.count_log(REFUSED)
    world.configuration.spoil(kind)
    world.cluster.launcher.send_signal(signal.SIGHUP)
    if not await until(lambda: world.count_log(REFUSED) > refusals, REFUSE_TIMEOUT_S):
        world.violations.append(Violation(CHECK, kind, "no line says that it was refused"))


async def _wait_until_followed(world: World, edition: int) -> None:
    """Ask again where it was stopped: a successor that is killed before it is ready does that."""
    deadline = time.monotonic() + FOLLOW_TIMEOUT_S
    stops = world.count_log(STOPPED)

    def is_followed() -> bool:
        editions = world.cluster.editions()
        return len(editions) >= WORKERS and min(editions) >= edition

    while not is_followed():
        if time.monotonic() > deadline:
            text = (
                f"workers follow editions {world.cluster.editions()} after {FOLLOW_TIMEOUT_S:g} s"
            )
            world.violations.append(Violation(CHECK, f"edition {edition}", text))
            return
        if world.count_log(STOPPED) > stops:
            async with world.is_changing:
                stops = world.count_log(STOPPED)
                world.cluster.launcher.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.05)
