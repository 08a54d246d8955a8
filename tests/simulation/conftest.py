"""The same histories, whatever else has been tested in the same process."""

import pytest
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants


@pytest.fixture(autouse=True)
def _nothing_is_drawn_from_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis also draws the constants that stand in the modules loaded so far.

    So a derandomized history depended on which tests had run before it, and a planted fault was found by
    luck. Hypothesis has no setting for it.
    """
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", LRUCache(1024))
