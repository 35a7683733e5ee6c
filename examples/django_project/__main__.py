"""Starts a Redis server, the shop and its worker: `python -m examples.django_project`.

All of it runs until Ctrl+C. `--port 0` chooses a free port. If REDIS_URL is set, that server is
used. The database is a file that is removed at the end.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from examples.embedded_server import embedded_server
from examples.processes import running

MANAGE = Path(__file__).with_name("manage.py")
QUIET = {"DJANGO_RUNSERVER_HIDE_WARNING": "true", "PYTHONUNBUFFERED": "1"}
LOGIN = {"DJANGO_SUPERUSER_USERNAME": "admin", "DJANGO_SUPERUSER_PASSWORD": "admin"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.django_project")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port or free_port()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
        embedded_server() as url,
    ):
        os.environ.update(
            DJANGO_SETTINGS_MODULE="shop.settings",
            REDIS_URL=url,
            SHOP_DATABASE=f"{folder}/shop.sqlite3",
        )
        manage("migrate", "--verbosity=0")
        manage("createsuperuser", "--noinput", "--email=", "--verbosity=0")
        # In production use a WSGI server such as gunicorn, and the same timers_worker.
        with (
            running(*command("timers_worker", "worker:app"), env=QUIET) as worker,
            running(*command("runserver", f"127.0.0.1:{port}", "--noreload"), env=QUIET) as web,
        ):
            wait_for(web, port)
            show(f"http://127.0.0.1:{port}")
            while web.poll() is None and worker.poll() is None:
                time.sleep(0.1)
            sys.exit("the web server or the worker has ended: see above")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(*words: str) -> list[str]:
    return [sys.executable, str(MANAGE), *words]


def manage(*words: str) -> None:
    with running(*command(*words), env=LOGIN) as process:
        if code := process.wait():
            raise subprocess.CalledProcessError(code, process.args)


def wait_for(web: "subprocess.Popen[bytes]", port: int) -> None:
    while web.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)


def show(address: str) -> None:
    print(
        f"""
{address} is the shop. Try, in another terminal:

  curl {address}/orders/ -d item=tea
  curl {address}/orders/ -d item=cake -d seconds=5
  curl {address}/orders/
  curl -X POST {address}/orders/1/pay/
  curl {address}/health/

{address}/admin/ is its admin, for "admin" with the password "admin".

  export REDIS_URL={os.environ["REDIS_URL"]}
  export SHOP_DATABASE={os.environ["SHOP_DATABASE"]}
  python {os.path.relpath(MANAGE)} timers_list unpaid-orders
  python {os.path.relpath(MANAGE)} timers_reschedule order-counts daily --in 0s
  python {os.path.relpath(MANAGE)} timers_cancel unpaid-orders --all

Ctrl+C stops all.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
