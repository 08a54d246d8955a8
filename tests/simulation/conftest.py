"""Make the same histories, whatever else was tested in the same process."""

import pytest
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants


@pytest.fixture(autouse=True)
def _nothing_is_drawn_from_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hypothesis from drawing constants that it finds in the modules loaded so far.

    Otherwise a history depends on which tests ran before it, and its seed does not replay it.
    Hypothesis has no setting for it.
    """
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", LRUCache(1024))
