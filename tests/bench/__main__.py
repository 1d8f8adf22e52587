"""Measures what the gateway costs beside the floor, in turn, round by round: ``make bench``."""

import argparse
import asyncio
import compileall
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import many_ids, network_cards, scenarios
from bench.figures import Figure, table

ROOT = Path(__file__).resolve().parents[2]

SCENARIOS: Mapping[str, Callable[[argparse.Namespace], Awaitable[list[Figure]]]] = {
    "start": lambda options: scenarios.start(options.rounds),
    "restart": lambda options: scenarios.kubelet_restart(options.rounds),
    "socket": lambda options: scenarios.own_socket(options.rounds),
    "stream": lambda options: scenarios.dropped_stream(options.rounds),
    "xid": lambda options: scenarios.xid(options.rounds),
    "storm": lambda options: scenarios.storm(options.rounds),
    "allocate": lambda options: scenarios.allocate(options.rounds),
    "devices": lambda options: scenarios.many_devices(options.rounds),
    "ids": lambda options: many_ids.ids(options.rounds),
    "lists": lambda options: many_ids.lists(options.rounds),
    "preferred": lambda options: many_ids.preferred(options.rounds),
    "idle": lambda options: scenarios.idle(options.idle_seconds),
    "cards": lambda options: network_cards.cards(options.rounds, options.idle_seconds),
    "growth": lambda options: scenarios.growth(options.allocations, options.restarts),
}


def main() -> int:
    """Run the scenarios, and print the table. Return 1 if a figure misses its limit."""
    parser = argparse.ArgumentParser(prog="make bench BENCH_ARGS=", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--allocations", type=int, default=100_000)
    parser.add_argument("--restarts", type=int, default=1_000)
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    for room in ("api", "adapters", "core", "linux", "nvidia", "rdma", "solarflare"):
        compileall.compile_dir(ROOT / room, quiet=1)
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.rounds} rounds", flush=True)
    figures: list[Figure] = []
    for name in options.scenarios or SCENARIOS:
        began = time.monotonic()
        figures += asyncio.run(SCENARIOS[name](options))  # type: ignore[arg-type]  # a coroutine each
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(figures))
    return 1 if any(figure.reached is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
