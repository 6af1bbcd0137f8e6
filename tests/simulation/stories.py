"""A played tape as a story for people: the scenario where it differs, then what happened."""

from collections.abc import Iterator
from dataclasses import fields

from balancer.core import events as ev
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import Event
from tests.core.story import say
from tests.simulation.scenario import Scenario, draw
from tests.simulation.shrinking import Cost, Shrinker
from tests.simulation.simulator import Result, replay
from tests.simulation.tape import Recording, Tape, to_text
from tests.simulation.world import START_AT

_LINES_MAX = 80


def kind_of(error: Exception | None) -> str | None:
    """What a finding is about: two tapes with the same kind fail in the same way."""
    return getattr(error, "promise", None) or (type(error).__name__ if error else None)


def shortest(result: Result, time_max_s: float, core: type[Dispatcher] = Dispatcher) -> Result:
    """The simplest tape found that fails like this result, played."""
    kind = kind_of(result.error)

    def retry(recording: Recording) -> tuple[Cost, Recording] | None:
        again = replay(recording, core)
        return (_cost(again), again.recording) if kind_of(again.error) == kind else None

    shrinker = Shrinker(_cost(result), result.recording, retry, time_max_s=time_max_s)
    return replay(shrinker.run(), core)


def _cost(result: Result) -> Cost:
    return result.requests + result.faults.total(), len(result.scenario.slots)


def tell(result: Result) -> Iterator[str]:
    """The setting, what happened, and the verdict, with the command that plays it again."""
    yield from _setting(result.scenario)
    lines = list(_happenings(result))
    if len(lines) > _LINES_MAX:
        yield f"... {len(lines) - _LINES_MAX} lines before"
    yield from lines[-_LINES_MAX:]
    faults = ", ".join(f"{name} {count}" for name, count in result.faults.items() if count)
    yield f"{result.requests} requests; faults: {faults or 'none'}"
    if result.error is None:
        yield f"no promise broken; {dict(result.outcomes)}"
    else:
        yield f"{type(result.error).__name__}: {result.error}"
    yield f"replay it with: python -m tests.simulation --tape '{to_text(result.recording)}'"


def _setting(scenario: Scenario) -> Iterator[str]:
    plain = draw(Tape().lane("scenario"))
    for owner, simple in ((scenario, plain), (scenario.limits, plain.limits)):
        for name in (field.name for field in fields(owner)):
            value = getattr(owner, name)
            if name not in ("limits", "faults") and value != getattr(simple, name):
                yield f"{name} = {value}"


def _happenings(result: Result) -> Iterator[str]:
    for now, event, actions in result.trace:
        if event is not None or actions:
            yield f"{now - START_AT:9.3f}  {_say_event(event)}"
        yield from (f"{'':11}{say(action)}" for action in actions)


def _say_event(event: Event | None) -> str:
    match event:
        case None:
            return "time passes"
        case ev.ReplyArrived(worker, reply):
            return f"{reply.outcome} from {_name(worker)}"
        case ev.BatchReplied(worker, replies):
            return f"{', '.join(reply.outcome for reply in replies)} from {_name(worker)}"
        case ev.WorkerConnected(worker):
            return f"WorkerConnected {_name(worker)}"
        case ev.WorkerReady(worker, batching):
            knows = "" if batching is ev.Batching.NONE else f" ({batching} of a batch)"
            return f"WorkerReady {_name(worker)}{knows}"
        case ev.WorkerLost(worker, cause, undelivered):
            return f"WorkerLost {_name(worker)} ({cause}{', undelivered' * undelivered})"
        case _:
            return str(event)


def _name(worker: ev.WorkerId) -> str:
    return f"{worker.slot}#{worker.incarnation}"
