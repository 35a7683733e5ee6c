"""Starts a Redis server, the worker and the web app, until Ctrl+C: `python -m examples.flask_app`.

`--port 0` chooses a free port. If REDIS_URL is set, that server is used.
"""

import argparse
import secrets
import signal
import sys
from contextlib import suppress

from werkzeug.serving import make_server

from examples.embedded_server import embedded_server
from examples.flask_app.app import create_app
from examples.processes import running

WORKER = (sys.executable, "-m", "faststream", "run", "examples.flask_app.worker:app")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.flask_app")
    parser.add_argument("--port", type=int, default=5000)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        embedded_server() as url,
        running(*WORKER, env={"REDIS_URL": url}) as worker,
    ):
        # The server of `flask run`; in production use a WSGI server such as gunicorn.
        password = secrets.token_urlsafe(12)
        web = create_app(TIMERS_URL=url, OPS_PASSWORD=password)
        server = make_server("127.0.0.1", port, web, threaded=True)
        with server:
            show(f"http://127.0.0.1:{server.server_port}", url, password)
            # serve_forever would not notice that the worker has ended.
            server.timeout = 0.1
            while worker.poll() is None:
                server.handle_request()
            sys.exit("the worker has ended: see above")


def show(address: str, url: str, password: str) -> None:
    print(
        f"""
{address} is the web app. Try, in another terminal:

  curl -X POST {address}/trials/ada
  curl -X POST {address}/trials/bob -d seconds=5
  curl {address}/trials/ada
  curl -X DELETE {address}/trials/ada
  curl {address}/health

  export FLASK_APP=examples.flask_app.app FLASK_TIMERS_URL={url}
  flask timers list trials
  flask timers series
  flask timers run-now trial-counts daily
  flask timers cancel trials --all

{address}/timers shows timers: user ops, password {password}
Ctrl+C stops all.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
