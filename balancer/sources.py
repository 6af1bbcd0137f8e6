"""Where options come from: texts of the command line and the environment, and a TOML file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from balancer.kinds import ADDRESS, HANDLER, NAME, SWITCH, WORKERS, Kind
from balancer.options import OPTIONS, VARIABLE_PREFIX

_VARIABLES = {option.variable for option in OPTIONS} | {"CLUSTER_HANDLERS"}
_ALMOST = 0.8
"""How alike two names are, by difflib's ratio, of which one is taken for the other misspelt."""

_POOL_KINDS = {
    "name": NAME,
    "handler": HANDLER,
    "workers": WORKERS,
    "endpoints": ADDRESS,
    "probe": SWITCH,
}


class ConfigError(ValueError):
    """A person configured something that cannot work; the text is one line that says the fix."""


class File(NamedTuple):
    """What a TOML file says, read and checked value by value."""

    settings: Mapping[str, Any]
    pools: Sequence[Mapping[str, Any]] = ()
    """What each pool says about itself: fields of ``Pool``, as far as they were given."""


def read_texts(flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    _check_variables(environ)
    settings = {}
    for option in OPTIONS:
        if option.name in flags:
            settings[option.name] = _read(option.kind, flags[option.name], option.flag)
        elif environ.get(option.variable):
            settings[option.name] = _read(option.kind, environ[option.variable], option.variable)
    return settings


def _check_variables(environ: Mapping[str, str]) -> None:
    """A variable that is almost one of ours is misspelt; one that resembles none is not for us."""
    known = {variable.removeprefix(VARIABLE_PREFIX): variable for variable in _VARIABLES}
    for variable in environ:
        if variable.startswith(VARIABLE_PREFIX) and variable not in _VARIABLES:
            import difflib

            name = variable.removeprefix(VARIABLE_PREFIX)
            for nearest in difflib.get_close_matches(name, known, n=1, cutoff=_ALMOST):
                raise ConfigError(f"{variable} is no option; write {known[nearest]}, or unset it")


def _read(kind: Kind, value: object, source: str) -> Any:
    """A value as it stands in a text or in TOML, where numbers and truth values are their own."""
    if isinstance(value, bool):
        if kind is not SWITCH:
            raise ConfigError(f"{source}: write a value, not {str(value).lower()}")
        return value
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{source}: write a text or a number")
    try:
        return kind.read(str(value))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def read_file(flags: Mapping[str, str], environ: Mapping[str, str]) -> File:
    path = flags.get("config") or environ.get("CLUSTER_CONFIG")
    if not path:
        return File({})
    data = _parse_file(path)
    kinds = {option.name: option.kind for option in OPTIONS if option.in_file}
    _check_keys(path, data, (*kinds, "handlers", "pool"))
    handlers, pools = data.pop("handlers", []), data.pop("pool", [])
    if handlers and pools:
        raise ConfigError(f"{path}: write either handlers or [[pool]] tables, not both")
    if not isinstance(pools, list) or not all(isinstance(pool, dict) for pool in pools):
        raise ConfigError(f"{path}: pool must be tables; begin each with a line [[pool]]")
    words = read_all(HANDLER, handlers, f"{path}: handlers")
    return File(
        {name: _read(kinds[name], value, f"{path}: {name}") for name, value in data.items()},
        [_read_pool(pool, f"{path}: [[pool]] {n}") for n, pool in enumerate(pools, 1)]
        or [{"handler": word} for word in words],
    )


def _parse_file(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    # Not UTF-8 and a number of too many digits are plain ValueErrors.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _check_keys(source: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            import difflib

            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{source}: unknown option {key!r}; the nearest is {nearest!r}")


def read_all(kind: Kind, values: object, source: str) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f'{source}: write a list of texts, like ["…", "…"]')
    return tuple(_read(kind, value, source) for value in values)


def _read_pool(table: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    for option in OPTIONS:
        if option.in_file and option.name in table and option.name not in _POOL_KINDS:
            text = f"{option.name} holds for all pools; write it above the first [[pool]]"
            raise ConfigError(f"{source}: {text}")
    _check_keys(source, table, tuple(_POOL_KINDS))
    is_static = bool(table.get("endpoints"))
    if is_static == ("handler" in table):
        raise ConfigError(f"{source}: write either a handler or a list of endpoints")
    misplaced = "workers" if is_static else "probe"
    if misplaced in table:
        owner = "handler" if is_static else "endpoints"
        raise ConfigError(f"{source}: {misplaced} goes with {owner}; remove it")
    return {
        key: (read_all if key == "endpoints" else _read)(
            _POOL_KINDS[key], value, f"{source}: {key}"
        )
        for key, value in table.items()
    }
