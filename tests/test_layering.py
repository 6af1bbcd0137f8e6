"""Who may import what: the architecture as two tables, and the house rules that a test can see.

A new module belongs into GROUPS. A new arrow in MAY_USE or a new name in USED_BY is a decision.
"""

import ast
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

GROUPS = {
    "front door": "run_cluster",
    "command line": """
        balancer.cli balancer.compiled balancer.arguments balancer.commands balancer.orders
        balancer.telling balancer.bench.command balancer.bench.arguments balancer.top.command""",
    "bench": """
        balancer.bench balancer.bench.plan balancer.bench.payload balancer.bench.schedule
        balancer.bench.load balancer.bench.killing balancer.bench.tally balancer.bench.latencies
        balancer.bench.timeline balancer.bench.result balancer.bench.report balancer.bench.text
        balancer.bench.progress""",
    "top": """
        balancer.top balancer.top.view balancer.top.contact balancer.top.model
        balancer.top.keys balancer.top.terminal balancer.top.interruptions
        balancer.top.screen balancer.top.plan balancer.top.header balancer.top.sparkline
        balancer.top.table balancer.top.columns balancer.top.footer balancer.top.help
        balancer.top.lines balancer.top.words""",
    "launcher": """
        workers.supervisor workers.commands workers.askers workers.snapshot workers.why
        workers.steering
        workers.dashboard_process workers.stopping workers.ending workers.recovery
        workers.crew workers.rolling workers.turns
        workers.reload workers.check workers.slot workers.succession workers.leaving
        workers.worker_process workers.surroundings workers.balancer_process workers.process
        workers.reports workers.restart workers.loop workers.console workers.feed
        workers.terminal""",
    "balancer process": """
        balancer.__main__ balancer.server balancer.transport balancer.endpoints balancer.frontend
        balancer.admission balancer.farewell balancer.listener balancer.client_connection
        balancer.patience balancer.descriptors
        balancer.links balancer.link balancer.forwarder balancer.observe balancer.figures
        balancer.stories balancer.lines""",
    "dashboard": """
        balancer.dashboard balancer.dashboard.__main__ balancer.dashboard.serving
        balancer.dashboard.application
        balancer.dashboard.admin balancer.dashboard.guard balancer.dashboard.connections
        balancer.dashboard.binding balancer.dashboard.board balancer.dashboard.cluster
        balancer.dashboard.memory balancer.dashboard.shown balancer.dashboard.stream
        balancer.dashboard.metrics balancer.dashboard.readings""",
    "worker process": """
        workers workers.__main__ workers.runtime workers.mailbox workers.rep_socket
        workers.stop_signal workers.forks workers.fast_path workers.answering
        workers.stopwatch workers.wear
        workers.handler workers.finding workers.demo""",
    "client": """
        balancer balancer.client balancer.client.__main__ balancer.client.blocking
        balancer.client.asynchronous balancer.client.async_mapping balancer.client.mapping
        balancer.client.shared_connection balancer.client.connection balancer.client.calls
        balancer.client.dealer balancer.client.prompt balancer.client.answers balancer.errors""",
    "control": "balancer.control balancer.runtime_directory balancer.status",
    "configuration": """
        balancer.config balancer.sources balancer.options balancer.kinds balancer.durations""",
    "sockets": "balancer.monitor balancer.port balancer.stream",
    "own process": "balancer.lifeline balancer.allocator",
    "text": "balancer.printable",
    "figures": "balancer.histogram balancer.history",
    "wire": """
        balancer.wire balancer.wire.requests balancer.wire.replies balancer.wire.reply
        balancer.wire.task balancer.wire.tasks balancer.wire.worker_replies balancer.wire.framing
        balancer.wire.values
        balancer.wire.greeting balancer.wire.zmtp""",
    "core": """
        balancer.core balancer.core.dispatcher balancer.core.arrivals balancer.core.requests
        balancer.core.workers
        balancer.core.suspects balancer.core.once balancer.core.policy
        balancer.core.queue balancer.core.pool balancer.core.lifecycle balancer.core.deadlines
        balancer.core.limits balancer.core.events balancer.core.records balancer.core.placing
        balancer.core.batches balancer.core.service_time""",
}

MAY_USE = {
    "front door": "command line",
    "command line": "bench, top, launcher, control, configuration, text, figures",
    "bench": "client, control, configuration, text, figures, wire",
    "top": "control, text, figures",
    "launcher": "control, configuration, own process, text, figures",
    "balancer process": "control, configuration, own process, sockets, figures, wire, core",
    "dashboard": "control, own process, text, figures, core",
    "worker process": "own process, sockets, wire, core",
    "client": "configuration, sockets, wire, text",
    "control": "text",
    "configuration": "core",
    "sockets": "wire",
    "own process": "",
    "text": "",
    "figures": "",
    "wire": "core",
    "core": "",
}
"""Beside its own group. Nothing points back up."""

CORE_MAY_USE = {"collections", "collections.abc", "dataclasses", "enum", "heapq", "typing"}
"""No clock, no dice, no socket, no file, no log: the core is told everything."""

USED_BY = {
    "msgpack": """
        balancer.wire.requests balancer.wire.replies balancer.wire.tasks
        balancer.wire.worker_replies balancer.wire.values""",
    "zmq": """
        balancer.transport balancer.links balancer.link balancer.monitor
        balancer.port
        balancer.client.dealer balancer.client.connection
        workers.__main__ workers.rep_socket""",
    "_socket": "balancer.stream workers.mailbox",
    "asyncio": """
        balancer.client.asynchronous balancer.client.async_mapping
        balancer.dashboard.__main__ balancer.dashboard.serving balancer.dashboard.board
        balancer.dashboard.cluster balancer.dashboard.connections balancer.dashboard.stream""",
    "starlette": """
        balancer.dashboard.application balancer.dashboard.admin balancer.dashboard.guard""",
    "uvicorn": "balancer.dashboard.serving balancer.dashboard.connections",
    "h11": "balancer.dashboard.connections",
    "prometheus_client": "balancer.dashboard.application balancer.dashboard.metrics",
    "rich": """
        balancer.top.view balancer.top.screen balancer.top.header balancer.top.table
        balancer.top.columns balancer.top.footer balancer.top.help balancer.top.lines""",
    "tomllib": "balancer.sources",
    "subprocess": "workers.process",
    "importlib": "workers.finding balancer.cli balancer.compiled",
    "multiprocessing": "",
    "concurrent": "",
    "logging": "",
    "pickle": "",
    "marshal": "",
    "shelve": "",
}
"""What only these modules may import, whatever the group."""

LOADS_NEITHER = {
    "run_cluster": "zmq msgpack asyncio rich",
    "workers.supervisor": "zmq msgpack asyncio",
    "workers.__main__": "asyncio tomllib dataclasses inspect balancer.core",
    "balancer.__main__": "asyncio tomllib",
    "balancer.dashboard.__main__": "starlette uvicorn h11 prometheus_client",
    "balancer.dashboard.serving": "zmq msgpack tomllib workers",
}
"""What a process must be able to start without: it costs time, or must not be forked."""

FORBIDDEN_NAMES = {"recv_pyobj", "send_pyobj", "pickle", "eval", "exec"}

TOP_LEVEL = {"README.md", "balancer", "pyproject.toml", "run_cluster.py", "tests", "workers"}


# --- reading the project -----------------------------------------------------------------------


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    name_of(path): path
    for path in sorted(
        [ROOT / "run_cluster.py", *ROOT.glob("balancer/**/*.py"), *ROOT.glob("workers/**/*.py")]
    )
}
TESTS = {name_of(path): path for path in sorted(ROOT.glob("tests/**/*.py"))}
GROUP_OF = {module: group for group, modules in GROUPS.items() for module in modules.split()}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports_of(module: str, *, at_load: bool = False) -> set[str]:
    """What it imports anywhere, or what it imports when it is loaded; modules of ours by name."""
    nodes = ast.iter_child_nodes if at_load else ast.walk
    names: set[str] = set()
    for node in nodes(tree_of(SOURCES[module])):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relative to itself"
            names |= {_module_in(node.module or "", alias.name) for alias in node.names}
    return names


def _module_in(package: str, name: str) -> str:
    return f"{package}.{name}" if f"{package}.{name}" in SOURCES else package


def loaded_by(module: str) -> set[str]:
    """All that is imported when the module is, in the end."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += imports_of(name, at_load=True) if name in SOURCES else ()
            pending += [name.rpartition(".")[0]] if "." in name else ()
    return seen


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


# --- the tables --------------------------------------------------------------------------------


def test_every_module_belongs_to_one_group() -> None:
    assert sorted(GROUP_OF) == sorted(SOURCES)
    assert len(GROUP_OF) == sum(len(modules.split()) for modules in GROUPS.values())
    assert list(MAY_USE) == list(GROUPS)


def test_arrows_point_down() -> None:
    allowed = {group: {group, *used.split(", ")} for group, used in MAY_USE.items()}
    ours = [(module, name) for module in SOURCES for name in imports_of(module) & SOURCES.keys()]
    assert [arrow for arrow in ours if GROUP_OF[arrow[1]] not in allowed[GROUP_OF[arrow[0]]]] == []


def test_no_arrow_points_back_up() -> None:
    order = list(GROUPS)
    for group, used in MAY_USE.items():
        for other in filter(None, used.split(", ")):
            assert order.index(other) > order.index(group), f"{group} -> {other}"


def test_the_core_is_pure() -> None:
    used = {name: module for module in GROUPS["core"].split() for name in imports_of(module)}
    foreign = {name for name in used if not is_within(name, "balancer.core")} - CORE_MAY_USE
    assert {name: used[name] for name in foreign} == {}


@pytest.mark.parametrize("package", USED_BY)
def test_only_these_use_it(package: str) -> None:
    users = {m for m in SOURCES if any(is_within(name, package) for name in imports_of(m))}
    assert users == set(USED_BY[package].split())


@pytest.mark.parametrize("module", LOADS_NEITHER)
def test_a_process_starts_without(module: str) -> None:
    loaded = loaded_by(module)
    for package in LOADS_NEITHER[module].split():
        assert not any(is_within(name, package) for name in loaded), package


def test_only_the_command_line_reaches_the_workers() -> None:
    users = {
        module
        for module in SOURCES
        if is_within(module, "balancer")
        and any(is_within(name, "workers") for name in imports_of(module))
    }
    assert users == {"balancer.cli", "balancer.commands"}


# --- house rules -------------------------------------------------------------------------------


def test_there_are_no_cycles() -> None:
    graph = {module: imports_of(module, at_load=True) & SOURCES.keys() for module in SOURCES}
    assert list(_cycle(graph)) == []


def _cycle(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """The modules that load each other, and those that load these: what cannot be put in order."""
    left = dict(graph)
    while free := [module for module in left if not left[module] & left.keys()]:
        for module in free:
            del left[module]
    yield from left


def test_every_module_says_what_it_is_for() -> None:
    trees = {module: tree_of(path) for module, path in (SOURCES | TESTS).items()}
    silent = {module for module, tree in trees.items() if not ast.get_docstring(tree)}
    empty_packages = {module for module in TESTS if not trees[module].body}
    assert silent - empty_packages == set()


def test_no_name_that_runs_what_a_peer_sends() -> None:
    for module, path in SOURCES.items():
        nodes = list(ast.walk(tree_of(path)))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert names & FORBIDDEN_NAMES == set(), module


def test_the_top_level_is_what_it_is_meant_to_be() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    names = {line.split("/")[0] for line in listing.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("group", ["balancer process", "sockets", "wire", "core"])
def test_nothing_is_imported_in_the_middle_of_a_request(group: str) -> None:
    """It would take milliseconds from everybody, and a descriptor, of which there may be none."""
    late = {
        module: imports_of(module) - imports_of(module, at_load=True)
        for module in GROUPS[group].split()
    }
    assert {module: names for module, names in late.items() if names} == {}
