"""Runs seeds: python -m tests.simulation.raft --seeds 0-9999. A single seed prints its trace."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

from tests.simulation.raft.plan import plan_of
from tests.simulation.raft.world import World


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-99", help="one, or first-last")
    parser.add_argument("--nodes", type=int, help="in place of what the seed says")
    parser.add_argument("--trace", type=int, default=60, help="lines of a failing seed's trace")
    parser.add_argument("--keep-going", action="store_true", help="after a failing seed")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    counts: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    seeds = range(int(first), int(last or first) + 1)
    for seed in seeds:
        world = World(seed, plan_of(seed, arguments.nodes))
        try:
            world.run()
        except Exception:
            failed.append(seed)
            print(f"\nseed {seed} failed; the world: {world.plan}")
            print("\n".join(world.trace(arguments.trace)))
            traceback.print_exc(file=sys.stdout)
            if not arguments.keep_going:
                break
        counts.update(world.checks.counts)
        if len(seeds) == 1:
            print(f"digest {world.digest:08x}")
    print(f"\n{len(seeds)} seeds in {time.monotonic() - began:.0f} s, {len(failed)} failed: {failed}")
    print(", ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
