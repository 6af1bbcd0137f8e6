"""The balancer process: the loop, and its side of the conversation with the launcher."""

import gc
import os
import socket
import time
from collections.abc import Iterable
from typing import Any

from balancer import descriptors
from balancer.config import Config, from_json
from balancer.control import Channel, Message
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    DrainStarted,
    Event,
    Kill,
    OnceNamesKnown,
    Reconfigured,
    Released,
    SlotAdded,
    SlotRemoved,
    SlotRetired,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
)
from balancer.kinds import WORKERS_MAX
from balancer.lines import Line
from balancer.listener import CannotBind
from balancer.observe import Observer
from balancer.transport import Transport

SOCKETS_MAX = 64 + 2 * 3 * WORKERS_MAX
"""Three for each worker: a REQ, its monitor, and the monitor's other end. During a reload there
are as many again. It cannot be raised later, and a place that is not used costs eight bytes."""

TELL_ONCE_TIMEOUT_S = 0.25
"""How long the launcher may keep us waiting before a ``once`` request. Only once: if it is stuck,
such requests are refused without a wait until it reads again."""


_OF_LINKS = {WorkerConnected, WorkerReady, WorkerLost}


class LauncherGone(Exception):
    """The launcher's end of the channel is closed: nobody needs this process any more."""


class Server:
    """Takes its orders from the launcher's channel and its work from the frontend."""

    def __init__(
        self,
        config: Config,
        launcher: socket.socket,
        *,
        life: str = "",
        once_names: Iterable[bytes] = (),
    ) -> None:
        """``once_names`` are those that our predecessors told the launcher of."""
        self._config = config
        slots = [(slot, pool) for pool in config.pools for slot in pool.slots]
        boot = os.urandom(3).hex()
        self._transport = Transport(
            config.limits,
            boot,
            SOCKETS_MAX,
            life=life,
            tell_once=self._tell_once,
            connections_max=descriptors.for_clients(descriptors.raise_limit(), len(slots)),
            on_full=self._say_full,
        )
        self._dispatcher = Dispatcher(config.limits, [pool.name for pool in config.pools])
        self._observer = Observer(self._transport.request_name, has_access_log=config.access_log)
        self._launcher = Channel(
            launcher, self._transport.selector, self._on_message, self._on_launcher_gone
        )
        self._is_launcher_stuck = False
        self._transport.tell_of(Kill, self._say_hung)
        self._transport.tell_of(Released, self._say_released)
        self._transport.emit(OnceNamesKnown(tuple(once_names)))
        self._static: dict[str, tuple[str, str, bool]] = {}
        """Pool, address and probe of each slot whose worker nobody of ours started."""
        for slot, pool in slots:
            if pool.handler is not None:
                self._transport.emit(SlotAdded(slot, pool.name))

    def run(self) -> None:
        """Serve until drained. CannotBind if the address is not to be had."""
        try:
            self._transport.frontend.bind(self._config.bind)
        except CannotBind as error:
            self._launcher.send({"op": "cannot_bind", "error": str(error)})
            raise
        self._launcher.send({"op": "bound"})
        self._dial_endpoints(self._config)
        # What was made by now stays: the collector need not look at it again and again.
        gc.freeze()
        transport, dispatcher, clock = self._transport, self._dispatcher, time.monotonic
        while not dispatcher.drained:
            due_at = dispatcher.next_deadline()
            transport.poll(due_at, self._handle, newcomers_wait=dispatcher.newcomers_wait)
            if due_at is not None and due_at <= clock():
                self._expire(clock())
        transport.flush()  # the last answer does not wait for the launcher
        self._log(self._observer.last_lines())
        self._launcher.finish(timeout_s=1.0)
        transport.close()

    def _handle(self, event: Event) -> None:
        now = time.monotonic()
        is_of_link = type(event) in _OF_LINKS
        if is_of_link and isinstance(event, WorkerLost):
            self._note_loss(event)
        actions = self._dispatcher.step(event, now)
        if actions:
            self._transport.perform(actions)
        lines = self._observer.note(now, event, actions)
        if lines:
            self._log(lines)
        if is_of_link:
            self._tell_of(event)

    def _tell_of(self, event: Event) -> None:
        """What else there is to do depends on what the core has made of it."""
        if isinstance(event, WorkerReady):
            self._note_ready(event)
        elif isinstance(event, WorkerConnected):
            self._release_if_late(event)

    def _expire(self, now: float) -> None:
        actions = self._dispatcher.expire(now)
        if actions:
            self._transport.perform(actions)
            self._log(self._observer.note(now, None, actions))

    # --- what the launcher and the log are told ---------------------------------------------------

    def _note_ready(self, event: WorkerReady) -> None:
        self._transport.links.endpoints.note_ready(event.worker)
        self._say("ready", event.worker)
        if event.worker.slot in self._static:
            self._log([_line("info", "ready", event.worker, "is in rotation")])

    def _note_loss(self, event: WorkerLost) -> None:
        """Tell of a lost worker while it is still known what it held."""
        member = self._dispatcher.pools.find(event.worker)
        held = member.held if member is not None else None
        names = self._observer.names(held.requests) if held is not None else None
        self._say("lost", event.worker, cause=event.cause, request=names)
        if member is not None and event.worker.slot in self._static:
            self._log([_line("warning", "lost", event.worker, f"is lost: {event.cause}")])

    def _say_hung(self, action: Kill) -> None:
        self._say("hung", action.worker, request=self._observer.names(action.requests))

    def _say_released(self, action: Released) -> None:
        self._say("released", action.worker)

    def _say_full(self, connections: int) -> None:
        text = (
            f"{connections} clients are connected, and what descriptors are left is for workers: "
            "others wait until one leaves; a higher ulimit -n lets them in"
        )
        self._log([Line("warning", text, {"event": "full"})])

    def _release_if_late(self, event: WorkerConnected) -> None:
        """Close a link that came about only when a newer one had its slot: where descriptors are
        short, a dial takes seconds. Its process would wait for its release without end."""
        if self._dispatcher.pools.find(event.worker) is None:
            self._transport.perform([Released(event.worker)])

    def _say(self, op: str, worker: WorkerId, **fields: Any) -> None:
        self._launcher.send(
            {"op": op, "slot": worker.slot, "incarnation": worker.incarnation, **fields}
        )

    def _tell_once(self, name: bytes) -> bool:
        """Have the launcher know the name even if we are killed next; False if it will not."""
        timeout_s = 0.0 if self._is_launcher_stuck else TELL_ONCE_TIMEOUT_S
        # Nothing is added to what it does not read: the backlog has a limit.
        self._is_launcher_stuck = not self._launcher.flush(timeout_s)
        if not self._is_launcher_stuck:
            self._launcher.send({"op": "once", "name": name.hex()})
            self._is_launcher_stuck = not self._launcher.flush(timeout_s)
        return not self._is_launcher_stuck

    def _log(self, lines: Iterable[Line]) -> None:
        for line in lines:
            op = "log" if line.is_logged else "event"
            self._launcher.send_log(
                {"op": op, "level": line.level, "text": line.text, "fields": line.fields}
            )

    # --- the launcher's orders --------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        match message:
            case {"op": "dial", "slot": slot, "incarnation": incarnation, "endpoint": endpoint}:
                self._transport.links.dial(
                    WorkerId(slot, incarnation),
                    endpoint,
                    stream_path=message.get("stream_path", ""),
                    is_ours=True,
                    must_ping=True,
                    beside_older=bool(message.get("beside")),
                )
            case {"op": "exited", "slot": slot, "incarnation": incarnation, "cause": cause}:
                self._transport.links.note_exit(WorkerId(slot, incarnation), cause)
            case {"op": "removed", "slot": slot}:
                self._transport.emit(SlotRemoved(slot))
            case {"op": "add", "slot": slot, "pool": pool}:
                self._transport.emit(SlotAdded(slot, pool))
            case {"op": "retire", "slot": slot}:
                self._transport.emit(SlotRetired(slot))
            case {"op": "reconfigure", "config": config}:
                self._reconfigure(from_json(config))
            case {"op": "drain", "timeout_s": timeout_s}:
                self._transport.emit(DrainStarted(timeout_s))
            case {"op": "pulse"}:
                self._launcher.send({"op": "pulse"})
            case {"op": "watch", "is_watched": is_watched}:
                self._observer.is_watched = is_watched
            case {"op": "status", "id": id}:
                self._launcher.send({"op": "status", "id": id, **self._snapshot()})
            case {"op": "trace", "id": id}:
                stories = self._observer.trace(
                    self._dispatcher, message, time.monotonic(), time.time()
                )
                self._launcher.send({"op": "trace", "id": id, "requests": stories})

    def _snapshot(self) -> Message:
        snapshot = self._observer.snapshot(self._dispatcher, time.monotonic())
        snapshot["totals"]["replies_undelivered"] = self._transport.frontend.replies_undelivered
        return snapshot

    def _reconfigure(self, config: Config) -> None:
        """Go by the new limits and pools. The launcher's own workers come and go by its orders."""
        self._observer.has_access_log = config.access_log
        self._transport.emit(Reconfigured(config.limits, tuple(pool.name for pool in config.pools)))
        self._dial_endpoints(config)

    def _dial_endpoints(self, config: Config) -> None:
        """Bring the links to workers that are not ours in line with the configuration."""
        wanted = {
            slot: (pool.name, address, pool.probe)
            for pool in config.pools
            for slot, address in zip(pool.slots, pool.endpoints, strict=False)
        }
        # The new ones first: with nobody to wait for, all that waits would be refused.
        for slot, (pool_name, address, probe) in wanted.items():
            if self._static.get(slot) != wanted[slot]:
                self._transport.emit(SlotAdded(slot, pool_name, is_ours=False))
                self._transport.links.endpoints.add(slot, address, probe)
        for slot in self._static.keys() - wanted.keys():
            self._transport.links.endpoints.remove(slot)
            self._transport.emit(SlotRetired(slot))
        self._static = wanted

    def _on_launcher_gone(self) -> None:
        if not self._dispatcher.drained:
            raise LauncherGone


def _line(level: str, event: str, worker: WorkerId, text: str) -> Line:
    return Line(level, f"worker {worker.slot} {text}", {"event": event, "worker": worker.slot})
