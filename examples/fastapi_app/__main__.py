"""Starts a Redis server and the app, until Ctrl+C: `python -m examples.fastapi_app`.

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
    parser = argparse.ArgumentParser(prog="python -m examples.fastapi_app")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), embedded_server() as url:
        # The app reads it when it is imported.
        os.environ["REDIS_URL"] = url
        password = os.environ.setdefault("OPS_PASSWORD", secrets.token_urlsafe(12))
        config = uvicorn.Config("examples.fastapi_app.app:app", port=port)
        socket = config.bind_socket()
        show(f"http://127.0.0.1:{socket.getsockname()[1]}", password)
        uvicorn.Server(config).run(sockets=[socket])


def show(address: str, password: str) -> None:
    print(
        f"""
Try, in another terminal:

  curl -X POST '{address}/trials/ada'
  curl -X POST '{address}/trials/bob?seconds=5'
  curl '{address}/trials/ada'
  curl -X DELETE '{address}/trials/ada'
  curl '{address}/expired'
  curl '{address}/health'

{address}/docs is the web API, {address}/timers what comes by timer.
{address}/admin/timers shows timers: user ops, password {password}
Ctrl+C stops all.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
