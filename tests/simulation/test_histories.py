"""Hundreds of random histories; `make simulate N=…` runs more of them."""

import os
import random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.histories import Histories

BATCH = 50
# `make test` runs the same histories every time, `make simulate` new ones.
COUNT = int(os.environ.get("HISTORIES", "300"))
SEED = 20260104 if "HISTORIES" not in os.environ else random.SystemRandom().randrange(10**9)
SEED = int(os.environ.get("SEED", SEED))


@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_the_guarantees_hold_in_every_history(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Hypothesis draws constants from the modules loaded so far, and has no setting for it: a history
    # would depend on which tests ran before, and its seed would not replay it.
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", LRUCache(1024))
    played = settings(
        max_examples=BATCH,
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seed(SEED + batch)(Histories), settings=played)
    except BaseException as error:
        error.add_note(f"replay with: make simulate N={BATCH} SEED={SEED + batch}")
        raise
