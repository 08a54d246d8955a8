"""``make screenshots``: the pictures in docs/."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import Show
from tests.console_states import FakeClient, attention, denied, healthy

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "client", "size"),
    [
        ("healthy", healthy, "desktop"),
        ("attention", attention, "desktop"),
        ("denied", denied, "desktop"),
        ("phone", attention, "phone"),
    ],
)
def test_screenshot(show: Show, name: str, client: Callable[[], FakeClient], size: str) -> None:
    with show(client(), size, reduced_motion="reduce") as page:
        page.screenshot(path=DOCS / f"console-{name}.png")
