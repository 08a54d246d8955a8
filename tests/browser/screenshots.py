"""``make screenshots``: the pictures in docs/, of the page that the local cloud's deployment serves."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.browser.conftest import PROJECT, Served, Shown


@pytest.mark.parametrize("state", ["fresh", "healthy", "failed"])
def test_screenshot(
    states: dict[str, Served],
    show: Callable[..., AbstractContextManager[Shown]],
    state: str,
) -> None:
    with show(states[state]) as shown:
        shown.page.screenshot(path=PROJECT / f"docs/console-{state}.png", full_page=True)
