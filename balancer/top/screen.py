"""The whole screen: what the model knows, in so many lines of such a width."""

from rich.console import Group
from rich.text import Text

from balancer.top.footer import footer, happenings
from balancer.top.header import figures, graphs, processes, title
from balancer.top.help import help_lines
from balancer.top.lines import MARGIN, QUIET, fitted, wrapped
from balancer.top.model import Model
from balancer.top.plan import Plan, share_out
from balancer.top.table import details, heading, table
from balancer.top.words import age


def render(model: Model, width: int, height: int, now: float) -> Group:
    """Exactly ``height`` lines of exactly ``width`` columns."""
    last = footer(model, width, now)[: max(1, height - 1)]
    room = height - len(last)
    first = [title(model, width, now)]
    if model.is_help_shown:
        first += [Text(), *help_lines()]
    elif model.status is None:
        first += [Text(), *_without_cluster(model, width, now)]
    else:
        return Group(*_with_cluster(model, width, room, first), *fitted(last, width, len(last)))
    return Group(*fitted(first, width, room), *fitted(last, width, len(last)))


def _with_cluster(model: Model, width: int, height: int, first: list[Text]) -> list[Text]:
    parts = {
        "processes": processes(model, width),
        "figures": figures(model, width),
        "details": details(model, width),
    }
    plan = share_out(
        height, workers=len(model.workers), **{part: len(lines) for part, lines in parts.items()}
    )
    gap = [Text()] * plan.gaps
    above = first[: plan.title] + parts["processes"][: plan.processes] + gap
    above += parts["figures"][: plan.figures]
    above += [Text()] * plan.graph_gap + graphs(model, width, plan.graph_lines) + gap
    above += _workers(model, width, plan) + gap + parts["details"][: plan.details]
    below = happenings(model, width, plan.events) + gap
    return fitted(above, width, height - len(below)) + fitted(below, width, len(below))


def _workers(model: Model, width: int, plan: Plan) -> list[Text]:
    if not model.workers:
        return [Text(" " * MARGIN + "no workers", QUIET)][: plan.heading]
    return [heading(model, width, plan.rows)][: plan.heading] + table(model, width, plan.rows)


def _without_cluster(model: Model, width: int, now: float) -> list[Text]:
    if model.is_waiting:
        return []
    since = "" if model.ended_at is None else f" It ended {age(now - model.ended_at)} ago."
    option = "" if model.name == "default" else f" --name {model.name}"
    said = wrapped(Text(f"No cluster named '{model.name}' is running.{since}"), width, 3)
    start = wrapped(Text(f"Start one with: python run_cluster.py{option}"), width, 3)
    waits = wrapped(Text("It is shown here as soon as it runs.", QUIET), width, 2)
    return [*said, Text(), *start, *waits]
