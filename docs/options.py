"""Writes the options into configure.md, the README and the chart: ``make generate``."""

from collections.abc import Sequence
from pathlib import Path

import chart_options
import generated
from generated import put
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.kinds import Kind

PAGE = Path(__file__).with_name("configure.md")
README = Path(__file__).parents[1] / "README.md"


def table() -> str:
    """Return a row for each option."""
    heads = ("Flag", "Environment variable", "Key in the file", "Values", "Default")
    rows = [
        (
            _code(option.flags),
            _code(option.variables),
            _code([option.key] if option.key else []),
            _values(option.kind),
            f"`{option.default}`" if option.default and isinstance(option.default, str) else option.default_in_words,
        )
        for option in options(PARTS)
    ]
    return "\n".join(generated.table(heads, rows))


def overview() -> str:
    """Return a row for each group of options, with their flags."""
    every = options(PARTS)
    groups = dict.fromkeys(option.table.heading for option in every)
    rows = [(group, _code([option.flags[0] for option in every if option.table.heading == group])) for group in groups]
    return "\n".join(generated.table(("About", "Flags"), rows))


def _code(words: Sequence[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _values(kind: Kind[object]) -> str:
    """Return what is allowed: the words or the limits if there are any, or the name of the value."""
    schema = kind.schema
    if isinstance(words := schema.get("enum"), list):
        return _code(words)
    if "minimum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}{' seconds' if kind.metavar == 'TIME' else ''}"
    return _code(kind.metavar.split("|"))


if __name__ == "__main__":
    put(PAGE, table())
    put(README, overview())
    chart_options.main()
