"""Hundreds of random histories; `make simulate N=…` runs more of them and shows progress."""

import os
import random
import sys
import traceback

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.histories import Histories

BATCH = 50
COUNT = int(os.environ.get("HISTORIES", "300"))
# `make test` runs the same histories every time, `make simulate` new ones.
SEED = int(os.environ.get("SEED", "20260104"))


def play(count: int, first: int) -> None:
    """Play the random histories that begin with this seed, until one breaks a guarantee."""
    run_state_machine_as_test(
        seed(first)(Histories),
        settings=settings(
            max_examples=count,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_the_guarantees_hold_in_every_history(batch: int) -> None:
    try:
        play(BATCH, SEED + batch)
    except BaseException as error:
        error.add_note(f"replay with: make simulate N={BATCH} SEED={SEED + batch}")
        raise


if __name__ == "__main__":
    if "SEED" not in os.environ:
        SEED = random.SystemRandom().randrange(10**9)
    for number in range(-(-COUNT // BATCH)):
        try:
            play(BATCH, SEED + number)
        except Exception as error:  # noqa: BLE001 (whichever guarantee broke)
            traceback.print_exception(error)
            sys.exit(f"broken; replay with: make simulate N={BATCH} SEED={SEED + number}")
        print(f"\r{(number + 1) * BATCH} of {COUNT} histories, seed {SEED}", end="", flush=True)
    print()
