"""A live server for a browser, which `chromium` opens. No ORM while it is open: it runs a loop."""

from contextlib import contextmanager

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test.testcases import LiveServerThread


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


def log_in(page, address, user):
    """Log somebody in whose password is their name, as `users` makes them."""
    page.goto(f"{address}/admin/")
    page.fill("#id_username", user.username)
    page.fill("#id_password", user.username)
    page.click("input[type=submit]")
