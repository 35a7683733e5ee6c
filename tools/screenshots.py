"""Takes the pictures of the web pages in docs/drawings/web: `python tools/screenshots.py`.

It needs chromium on the PATH and the test dependencies. The timers are those of `make demo WEB=1`;
times are those of this machine. To see the pages as on a phone:
`python tools/screenshots.py --width 400 --folder /tmp/phone`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examples.demo_web import SHOP_TOPICS, SHOP_WORKER, open_shop  # noqa: E402  the path comes first
from examples.embedded_server import embedded_server  # noqa: E402
from faststream_redis_timers_sync import TimersClient  # noqa: E402
from faststream_redis_timers_sync.web import Access, TimerPages  # noqa: E402
from faststream_redis_timers_sync.web.access import RIGHTS  # noqa: E402
from faststream_redis_timers_sync.web.local import LocalServer  # noqa: E402

FOLDER = ROOT / "docs" / "drawings" / "web"
WIDTH = 1100
"""Pixels: text is still easy to read where a page of the site shows a picture at 700."""

MOST_BYTES = 150 * 1024
LONGEST = 30.0
"""Seconds until the worker has handled the due timers."""


def main() -> None:
    """Take all pictures, light and dark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=WIDTH, help="width of the window, in pixels")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder for the pictures")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(embedded_server(config={}))
        timers = stack.enter_context(TimersClient(url))
        stack.enter_context(_working(url, timers))
        address = stack.enter_context(_serving(timers))
        browser = stack.enter_context(_browser())
        for theme in ("light", "dark"):
            page = browser.new_page(
                color_scheme=theme,
                viewport={"width": options.width, "height": 400},
                timezone_id="Europe/Berlin",
                locale="en-GB",
            )
            _take_all(page, address, timers, _Camera(options.folder, theme))
            page.close()


@dataclass(frozen=True)
class _Camera:
    """Takes pictures.

    Args:
        folder: Where they go.
        theme: The end of their names.
    """

    folder: Path
    theme: str

    def take(self, page: Page, name: str) -> None:
        """Take a picture of a whole page."""
        # A pointer changes what is below it.
        page.mouse.move(0, 0)
        picture = Image.open(BytesIO(page.screenshot(full_page=True, animations="disabled")))
        file = self.folder / f"{name}-{self.theme}.webp"
        # Half of what PNG takes, and all colours are true.
        picture.convert("RGB").save(file, lossless=True, quality=100, method=6)
        size = file.stat().st_size
        print(f"{file}: {picture.width} x {picture.height}, {size / 1024:.0f} KiB")
        if size > MOST_BYTES:
            sys.exit(f"it is larger than {MOST_BYTES} bytes")


def _take_all(page: Page, address: str, timers: TimersClient, camera: _Camera) -> None:
    page.goto(address)
    camera.take(page, "topics")
    page.get_by_role("link", name="invoices", exact=True).click()
    page.get_by_label("Search IDs").fill("INV-001*")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Show all").wait_for()
    for number in (0, 1, 4):
        page.get_by_role("checkbox").nth(number).check()
    camera.take(page, "topic")
    page.get_by_role("button", name="Reschedule").click()
    page.get_by_label("In", exact=True).fill("2d")
    camera.take(page, "confirm")
    page.get_by_role("button", name="Reschedule").click()
    page.get_by_role("link", name="Back to the topic").wait_for()
    camera.take(page, "outcome")
    (dead, *_) = sorted(timers.get_pending_timers("payments:dead"))
    root = address.partition("?")[0]
    page.goto(f"{root}?topic=payments:dead&timer={dead}")
    camera.take(page, "dead-letter")
    page.goto(f"{root}?topic=reports&timer=sales-daily")
    camera.take(page, "timer")


@contextmanager
def _working(url: str, timers: TimersClient) -> Iterator[None]:
    """Fill the server, and run a worker until it has handled all due timers that it can."""
    open_shop(timers)
    with subprocess.Popen(
        [sys.executable, "-m", *SHOP_WORKER],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            end = time.monotonic() + LONGEST
            while timers.count_pending("payments") or not timers.count_pending("payments:dead"):
                if worker.poll() is not None or time.monotonic() > end:
                    sys.exit("the worker does not handle the due timers")
                time.sleep(0.1)
            yield
        finally:
            worker.kill()


@contextmanager
def _serving(timers: TimersClient) -> Iterator[str]:
    pages = TimerPages(
        timers,
        allow=lambda _: Access("ada", may=RIGHTS),
        topics=SHOP_TOPICS,
        longest_lease=30,
        show_body=lambda _, timer: timer.body,
    )
    with LocalServer(pages, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.url
        finally:
            server.shutdown()


@contextmanager
def _browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        sys.exit("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


if __name__ == "__main__":
    main()
