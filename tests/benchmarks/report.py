"""What the rounds gave, for a machine: the figures of each round, their medians and ratios."""

from typing import Any

from tests.benchmarks.rounds import Results
from tests.benchmarks.table import OURS


def to_words(results: Results) -> dict[str, Any]:
    """A map of texts, numbers and lists, for JSON."""
    return {
        "name": results.row.name,
        "title": results.row.title,
        "rounds": results.rounds,
        "sections": {
            section: {name: _contestant(results, section, name) for name in contestants}
            for section, contestants in results.values.items()
        },
        "failed": results.troubles,
    }


def _contestant(results: Results, section: str, contestant: str) -> dict[str, Any]:
    figures = results.values[section][contestant]
    return {
        figure: {
            "median": results.median(section, contestant, figure),
            "rounds": values,
            **{
                f"{name}/it": results.ratio(section, name, contestant, figure)
                for name in OURS
                if name in results.values[section]
            },
        }
        for figure, values in figures.items()
    }
