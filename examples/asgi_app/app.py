"""The worker: delivers timers, tells at /health how it is, and describes itself at /docs.

By itself: `REDIS_URL=redis://localhost:6379 uvicorn examples.asgi_app.app:app`; with
`faststream run examples.asgi_app.app:app --workers 2` in two processes.
"""

import os

from faststream.asgi import AsgiFastStream, make_ping_asgi

from faststream_redis_timers import TimersBroker

broker = TimersBroker(os.environ.get("REDIS_URL", "redis://localhost:6379"), prefix="shop:")


@broker.subscriber("invoices")
async def remind(number: int) -> str:
    """Remind a customer of an invoice."""
    print(f"Invoice {number} is due", flush=True)
    return f"reminded of {number}"


app = AsgiFastStream(
    broker,
    # 204 while the server answers and all topics are delivered, else 500.
    asgi_routes=[("/health", make_ping_asgi(broker, timeout=1.0))],
    # The page can try handlers out: without Redis, as tests do.
    asyncapi_path="/docs",
)
