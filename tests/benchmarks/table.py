"""What the rounds gave, as aligned tables for a terminal."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.rounds import Results

OURS = ("strict", "batch")
LEGEND = """\
direct    a client connected to the workers, nobody between: who is busy or dead is not looked at
proxy     libzmq's own proxy in C between them, as blind
loop      the textbook's balancer: one request at a time to each worker, no promises
executor  concurrent.futures.ProcessPoolExecutor; pool: multiprocessing.Pool; pebble: ProcessPool
strict    this project; batch: this project with --batch-max 32
strict/it how many times a contestant's own figure strict's is: more req/s and less CPU are better
"""


def lines(results: Results) -> Iterator[str]:
    """A table for each section: contestant, figures, and the ratios of ours to it."""
    row = results.row
    yield f"{row.title}; {_rounds(results)}"
    ours = [name for name in OURS if any(name in values for values in results.values.values())]
    compared = [column.figure for column in row.columns if column.is_compared]
    heads = [("", column.figure) for column in row.columns]
    heads += [(f"{name}/it", figure) for figure in compared for name in ours]
    widths = [max(9, *map(len, head)) for head in heads]
    if any(above for above, _ in heads):
        yield f"{'':28}{_aligned([above for above, _ in heads], widths)}"
    for section, contestants in results.values.items():
        yield f"  {section:26}{_aligned([head for _, head in heads], widths)}"
        for contestant in contestants:
            cells = [
                number(results.median(section, contestant, column.figure), column.digits)
                for column in row.columns
            ]
            cells += [
                number(results.ratio(section, name, contestant, figure), 2)
                for figure in compared
                for name in ours
            ]
            yield f"    {contestant:24}{_aligned(cells, widths)}"
    yield from (f"  failed: {trouble}" for trouble in results.troubles)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _rounds(results: Results) -> str:
    return f"median of {results.rounds} rounds" if results.rounds > 1 else "one round"
