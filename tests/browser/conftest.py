"""The console in headless Chromium, over a client that answers as the API does."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from werkzeug.serving import make_server

from cli.console.app import LOOPBACK, create_app

SIZES: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 800},
    "phone": {"width": 390, "height": 844},
}

Show = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine (Debian's package is called chromium)")
    # The tests may run as root, and ask nothing of any network.
    flags = ("--disable-gpu", "--disable-background-networking")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium, args=flags, chromium_sandbox=False
        ) as browser,
    ):
        yield browser


@pytest.fixture
def show(browser: Browser) -> Show:
    """Serve the console over a client, and open it; nothing may go wrong in the browser."""

    @contextmanager
    def show(client: Any, size: str = "desktop", path: str = "/", **options: Any) -> Iterator[Page]:
        app = create_app(client)
        server = make_server(LOOPBACK, 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        context = browser.new_context(
            base_url=f"http://{LOOPBACK}:{server.server_port}",
            viewport=SIZES[size],
            timezone_id="Europe/Amsterdam",
            **options,
        )
        said: list[str] = []  # also of what the content security policy blocks
        context.on("console", lambda message: said.append(message.text))
        context.on("weberror", lambda error: said.append(str(error.error)))
        try:
            page = context.new_page()
            page.goto(path)
            yield page
        finally:
            context.close()
            server.shutdown()
            thread.join()
        assert [text for text in said if "status of 403" not in text] == []

    return show
