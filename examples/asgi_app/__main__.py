"""Starts a Redis server and the worker, until Ctrl+C: `python -m examples.asgi_app`.

`--port 0` chooses a free port. If REDIS_URL is set, that server is used.
"""

import argparse
import os
import secrets
import signal
from contextlib import suppress

import uvicorn

from examples.embedded_server import embedded_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.asgi_app")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), embedded_server() as url:
        # The worker reads it when it is imported.
        os.environ["REDIS_URL"] = url
        password = os.environ.setdefault("OPS_PASSWORD", secrets.token_urlsafe(12))
        config = uvicorn.Config("examples.asgi_app.app:app", port=port)
        socket = config.bind_socket()
        show(f"http://127.0.0.1:{socket.getsockname()[1]}", password)
        uvicorn.Server(config).run(sockets=[socket])


def show(address: str, password: str) -> None:
    print(
        f"""
{address}/docs describes the worker, "Try it out" there calls its handler.
{address}/health says whether timers are delivered:

  curl -i {address}/health

{address}/timers shows timers: user ops, password {password}

Ctrl+C stops all.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
