"""What a run of chaos is played on: a real cluster, workers written by hand, clients, a proxy."""

import asyncio
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from balancer.client import AsyncClient
from balancer.control import NotRunning, ask
from balancer.runtime_directory import path_of
from balancer.wire.reply import Reply
from tests.chaos.checks import Violation
from tests.chaos.client import Recorder, send
from tests.chaos.configuration import REVIVE_GRACE_S, Configuration, edition_of
from tests.chaos.history import Journal
from tests.chaos.jobs import RUNS_VARIABLE
from tests.chaos.processes import arguments_of, children_of
from tests.chaos.proxy import Proxy
from tests.chaos.wishes import Wish
from tests.cluster.running import PROJECT, Cluster, free_address

BY_HAND = ("garble", "answer")
"""The deeds of the workers written by hand."""
TRY_TIMEOUT_S = 1.0
DRAIN_TIMEOUT_S = 1.5
MAX_REQUESTS = 600
"""A worker is replaced every other second or so."""
BATCH_BUDGET_S = 0.2
"""Far above the default: these jobs take some milliseconds and are to be batched all the same."""
STOP_TIMEOUT_S = 20.0
SHELLS = [("sync", False), ("async", False), ("req", False), ("dealer", False)]
PROXIED_SHELLS = [("sync", True), ("async", True), ("dealer", True)]


class ChaosCluster(Cluster):
    """One that can be started again on its name and address, and whose log goes to a file."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str]) -> None:
        super().__init__(*arguments, env=env)
        self._log_file = log
        self.is_heard = True

    def read_log(self) -> None:
        """Empty the pipe that it writes its log to."""
        with self._log_file.open("ab") as file:
            try:
                while self.is_heard and (data := os.read(self._log_pipe, 1 << 16)):
                    file.write(data)
            except BlockingIOError:
                pass

    def start_again(self) -> None:
        """After its launcher has ended."""
        self.read_log()
        os.close(self._log_pipe)
        self.start()

    def workers(self) -> list[int]:
        """Without the short-lived ones that only try a handler."""
        pids = children_of(self.launcher.pid, "workers")
        return [pid for pid in pids if "--check" not in arguments_of(pid)]

    def editions(self) -> list[int]:
        """Which edition of the configuration each worker follows."""
        return [edition_of(arguments_of(pid)) for pid in self.workers()]

    def balancer(self) -> int | None:
        """None while there is none, or none that runs by itself yet."""
        return next(iter(children_of(self.launcher.pid, "balancer")), None)


class World:
    """Use it as an asynchronous context manager; everything that it started ends with it."""

    def __init__(self, directory: Path, seed: int, batch_max: int = 1) -> None:
        self.directory = directory
        self.runs = directory / "runs.jsonl"
        self.runs.touch()
        self.mark = f"{RUNS_VARIABLE}={self.runs}"
        self.journal = Journal(directory / "faults.jsonl")
        self.is_changing = asyncio.Lock()
        """Held by whoever takes the whole cluster down and up again."""
        self.clients: dict[tuple[str, bool], tuple[str, subprocess.Popen[bytes]]] = {}
        self._dice = random.Random(seed)
        self._numbers = itertools.count(1)
        self._by_hand: list[subprocess.Popen[bytes]] = []
        self._environment = {RUNS_VARIABLE: str(self.runs)}
        self._endpoints = [free_address() for _ in BY_HAND]
        self.configuration = Configuration(directory / "cluster.toml", self._endpoints)
        self.violations: list[Violation] = []
        """What was seen to be wrong while it happened."""
        options = {
            "--config": str(self.configuration.path),
            "--try-timeout": f"{TRY_TIMEOUT_S}s",
            "--drain-timeout": f"{DRAIN_TIMEOUT_S}s",
            "--max-requests": str(MAX_REQUESTS),
            "--revive-grace": f"{REVIVE_GRACE_S}s",
            "--batch-max": str(batch_max),
            "--batch-budget": f"{BATCH_BUDGET_S}s",
        }
        arguments = itertools.chain.from_iterable(options.items())
        self.log = directory / "cluster.log"
        self.log.touch()
        self.cluster = ChaosCluster(*arguments, log=self.log, env=dict(self._environment))
        host, _, port = self.cluster.address.removeprefix("tcp://").partition(":")
        self.proxy = Proxy((host, int(port)))

    async def __aenter__(self) -> "World":
        for endpoint, deed in zip(self._endpoints, BY_HAND, strict=True):
            self._by_hand.append(self._start("by_hand", endpoint, deed))
        self.cluster.start()
        self._reader = asyncio.create_task(self._read_log())
        self.proxy_address = await self.proxy.open()
        self.client = AsyncClient(self.cluster.address)
        self.recorder = Recorder(str(self.history), "chaos", "async", via_proxy=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, process in self.clients.values():
            process.kill()
            process.wait()
            self.journal.append("client killed", client=name)
        await self.client.close()
        await self.proxy.close()
        await self.stop_cluster()
        for process in self._by_hand:
            process.kill()
            process.wait()
        self._reader.cancel()
        self.cluster.read_log()
        shutil.rmtree(path_of(self.cluster.name), ignore_errors=True)

    @property
    def history(self) -> Path:
        return self.directory / "clients.jsonl"

    async def ask(self, wish: Wish) -> Reply:
        """Send a wish of our own, as our client does."""
        return await send(self.client, self.recorder, wish)

    async def wait_until_serving(self) -> None:
        """Wait until a small request is answered."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (reply := await self.client.send(PROBE, timeout=5.0)).status != 200:
            assert time.monotonic() < deadline, reply
            await asyncio.sleep(0.02)

    async def stop_cluster(self) -> int | None:
        """Ask it to stop, and kill it if it does not; its exit code if it stopped by itself."""
        launcher = self.cluster.launcher
        launcher.send_signal(signal.SIGTERM)
        if await until(lambda: launcher.poll() is not None, STOP_TIMEOUT_S):
            return launcher.returncode
        launcher.kill()
        launcher.wait()
        return None

    def states(self) -> dict[str, str]:
        """The state of each slot as ``status`` tells it; empty while nobody answers."""
        try:
            workers = ask(self.cluster.name, "status")["workers"]
        except (NotRunning, KeyError):
            return {}
        return {worker["name"]: worker["state"] for worker in workers}

    def count_log(self, text: str) -> int:
        """How often the text stands in what was read of the cluster's log."""
        return self.log.read_text(errors="replace").count(text)

    # --- clients --------------------------------------------------------------------------------

    def start_client(self, shell: str, via_proxy: bool) -> None:
        name = f"{shell}{'-proxied' if via_proxy else ''}-{next(self._numbers)}"
        address = self.proxy_address if via_proxy else self.cluster.address
        seed = str(self._dice.randrange(1 << 32))
        arguments = [shell, address, str(self.history), name, seed, *["proxy"][: int(via_proxy)]]
        self.clients[shell, via_proxy] = (name, self._start("client", *arguments))

    def kill_client(self, shell: str, via_proxy: bool) -> None:
        """In whatever it is doing; another takes its place."""
        name, process = self.clients[shell, via_proxy]
        process.kill()
        process.wait()
        self.journal.append("client killed", client=name)
        self.start_client(shell, via_proxy)

    async def wait_for_clients(self) -> None:
        """Wait until each has begun to ask: only then it knows how to end, too."""

        def have_asked() -> bool:
            history = self.history.read_text()
            return all(f'"client": "{name}"' in history for name, _ in self.clients.values())

        assert await until(have_asked, STOP_TIMEOUT_S), "a client does not ask"

    async def stop_clients(self) -> None:
        """Let them finish what is in flight."""
        await self.wait_for_clients()
        processes = [process for _, process in self.clients.values()]
        for process in processes:
            process.terminate()
        ended = await until(lambda: all(p.poll() is not None for p in processes), STOP_TIMEOUT_S)
        assert ended, "a client does not end"
        assert all(p.returncode == 0 for p in processes), "a client has failed"
        self.clients.clear()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        # Not marked, for it is no part of the cluster: whoever is marked must end with it.
        environment = {**os.environ, **self._environment} if module == "by_hand" else None
        command = [sys.executable, "-m", f"tests.chaos.{module}", *arguments]
        return subprocess.Popen(command, cwd=PROJECT, env=environment)

    async def _read_log(self) -> None:
        while True:
            self.cluster.read_log()
            await asyncio.sleep(0.05)


PROBE = {"op": "probe", "do": "echo", "sleep_s": 0.0}
"""Not written down by its client: nobody checks what becomes of it."""


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for the condition; False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
