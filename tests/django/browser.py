"""A real browser on a live server, for tests of pages. No ORM while it is open: it runs a loop."""

import os
import shutil
from contextlib import contextmanager

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test.testcases import LiveServerThread
from playwright.sync_api import sync_playwright

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def live_server():
    """Serve the project, static files too, and give its address."""
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    try:
        if thread.error:
            raise thread.error
        yield f"http://127.0.0.1:{thread.port}"
    finally:
        thread.terminate()


@contextmanager
def open_browser():
    """Start Chromium; where there is none the test is skipped, but not in CI."""
    path = shutil.which("chromium")
    if path is None:
        reason = "there is no chromium on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def log_in(page, address, user):
    """Log somebody in whose password is their name, as `users` makes them."""
    page.goto(f"{address}/admin/")
    page.fill("#id_username", user.username)
    page.fill("#id_password", user.username)
    page.click("input[type=submit]")
