"""The console in headless Chromium, over a client that answers as the API does."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from cli.console.app import LOOPBACK, create_app

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

# The tests may run as root, and ask nothing of any network.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

Show = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine (Debian's package is called chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=FLAGS, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser) -> Show:
    """Serve the console over a client, and open it; nothing may go wrong in the browser."""

    @contextmanager
    def show(client: Any, size: str = "desktop", path: str = "/", **options: Any) -> Iterator[Page]:
        server = make_server(
            LOOPBACK, 0, create_app(client, "acceptance", "acceptance"), threaded=True
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        width, height = SIZES[size]
        address = f"http://{LOOPBACK}:{server.server_port}/"
        context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": height},
            timezone_id="Europe/Amsterdam",
            **options,
        )
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(address) else said.append(request.url),
        )
        try:
            page.goto(path)
            yield page
        finally:
            context.close()
            server.shutdown()
            thread.join()
        assert [text for text in said if "status of 403" not in text] == []

    return show
