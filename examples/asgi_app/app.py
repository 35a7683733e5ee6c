"""The worker: delivers timers, reports its health at /health, and describes itself at /docs.

At /timers are web pages of its timers, for the user ops with the password of OPS_PASSWORD.

Run it alone: `REDIS_URL=redis://localhost:6379 uvicorn examples.asgi_app.app:app`, or in two
processes: `faststream run examples.asgi_app.app:app --workers 2`.
"""

import os
from hmac import compare_digest

from faststream.asgi import AsgiFastStream, make_ping_asgi

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.web import Access, AskPassword, Request, TimerPages

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

broker = TimersBroker(URL, prefix="shop:")
timers = TimersClient(URL, prefix="shop:")


@broker.subscriber("invoices")
async def remind(number: int) -> str:
    """Remind a customer of an invoice."""
    print(f"Invoice {number} is due", flush=True)
    return f"reminded of {number}"


def allow(request: Request) -> Access | AskPassword:
    """Allow users who know OPS_PASSWORD; without one, allow nobody."""
    user, password = request.credentials or ("", "")
    wanted = os.environ.get("OPS_PASSWORD", "")
    if user == "ops" and wanted and compare_digest(password.encode(), wanted.encode()):
        return Access(user, may={"run", "reschedule", "cancel", "redrive"})
    return AskPassword()


pages = TimerPages(timers, allow=allow, topics=["invoices"], longest_lease=30)

app = AsgiFastStream(
    broker,
    # 204 while the server replies and all topics are delivered, otherwise 500.
    asgi_routes=[("/health", make_ping_asgi(broker, timeout=1.0)), ("/timers", pages.asgi)],
    # The page can call handlers without Redis, as tests do.
    asyncapi_path="/docs",
    after_shutdown=[timers.close],
)
