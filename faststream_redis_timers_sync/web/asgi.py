"""The pages under ASGI: the blocking core runs in its own threads."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from faststream_redis_timers_sync.web.messages import MOST_BODY, Request, Response, join_headers

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

THREADS = 4
"""Requests that are handled at once. The pages have their own threads, so that a slow server blocks
no thread of the application."""


class AsgiPages:
    """The pages as an ASGI application.

    Args:
        answer: Answers a request, in a thread.
    """

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        """Start no thread yet."""
        self._answer = answer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="timer-pages")

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request.

        Args:
            scope: ASGI's scope of the request.
            receive: Returns its body.
            send: Accepts the response.
        """
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        method = scope["method"].upper()
        body = await _read_body(receive) if method == "POST" else b""
        if body is None:
            # The client is gone, and a part of a form must have no effect.
            return
        request = Request(
            method=method,
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=join_headers(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope.get("headers", ())
            ),
            scope=scope,
            body=body,
        )
        loop = asyncio.get_running_loop()
        # So `allow` sees the application's context variables.
        answer = copy_context().run
        response = await loop.run_in_executor(self._threads, answer, self._answer, request)
        told = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in told],
            }
        )
        shown = b"" if method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": shown})


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _read_body(receive: _Receive) -> bytes | None:
    """Read a body; None if its sender left before the end."""
    body = b""
    while len(body) <= MOST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[: MOST_BODY + 1]
