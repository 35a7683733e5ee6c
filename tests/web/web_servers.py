"""Real web servers for the pages: uvicorn, waitress, and a proxy that changes host and scheme."""

import http.client
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn
import waitress.server
from waiting import wait_until
from waitress import wasyncore
from web_pages import place_of

LONGEST = 60.0


@contextmanager
def uvicorn_serving(app, path="", **options):
    """Serve an ASGI application, and give the URL of a path of it."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), timeout=LONGEST)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        server.should_exit = True
        thread.join(LONGEST)
        assert not thread.is_alive()


@contextmanager
def waitress_serving(app, path=""):
    """Serve a WSGI application, and give the URL of a path of it."""
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}{path}"
    finally:
        # In the thread of its loop, which ends when nothing is left to wait for.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(LONGEST)
        server.task_dispatcher.shutdown()
        assert not thread.is_alive()


@contextmanager
def proxy_before(url, prefix="/ops/timers"):
    """Stand before a server as a proxy that ends TLS does: another host, scheme and path.

    What browsers see is ``https://ops.example.com`` and the prefix.
    """
    place = place_of(url)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = dict(self.headers.items())
            # Browsers know another host than the server behind.
            headers["Host"] = f"{place.host}:{place.port}"
            headers["X-Forwarded-Proto"] = "https"
            address = place.path + self.path.removeprefix(prefix)
            with closing(http.client.HTTPConnection(place.host, place.port, timeout=60)) as behind:
                behind.request(self.command, address, body or None, headers)
                response = behind.getresponse()
                data = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_POST = do_HEAD = do_GET  # noqa: N815  their names

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LONGEST)
