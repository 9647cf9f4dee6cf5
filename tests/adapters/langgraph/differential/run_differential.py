"""Random programs on LangGraph and on the facade: a part of `make laws`.

    python -m tests.adapters.langgraph.differential.run_differential [--programs N] [--seed S]

Prints how many programs ran and what they went through; exits with 1 and the smallest program that
Hypothesis could find if the two do different things.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.adapters.langgraph.differential.compare import check
from tests.adapters.langgraph.differential.programs import EVERY_CHECK, Program, functions, programs

AT_ONCE = 250
"""Programs from one seed: Hypothesis explores near what it has found, so fresh starts see more."""


def main() -> int:
    """Run as many programs as asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--programs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    first = random.randrange(2**32) if options.seed is None else options.seed
    logging.disable(logging.WARNING)  # of unknown targets, which programs may well have
    begun, done = time.monotonic(), 0
    while done < options.programs:
        size = min(AT_ONCE, options.programs - done)
        try:
            _run(first + done, size)
        except AssertionError as error:
            print(f"seed {first}: a difference after {done} programs\n{error}", file=sys.stderr)
            return 1
        done += size
    print(f"{done:,} programs, no difference, {time.monotonic() - begun:.0f} s (seed {first})")
    return 0


def _run(start: int, size: int) -> None:
    @seed(start)
    @settings(max_examples=size, deadline=None, database=None, suppress_health_check=EVERY_CHECK)
    @given(st.one_of(programs(), programs(), programs(), functions()))
    def law(program: Program) -> None:
        check(program)

    law()


if __name__ == "__main__":
    sys.exit(main())
