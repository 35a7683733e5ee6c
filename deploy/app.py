import os

from faststream.asgi import AsgiFastStream, make_ping_asgi
from faststream_redis_timers import TimersBroker

broker = TimersBroker(os.environ["REDIS_URL"], graceful_timeout=20)


@broker.subscriber("invoices")
async def remind(number: str) -> None:
    print(f"{number} is due", flush=True)


app = AsgiFastStream(
    broker,
    # 204 while the server answers and all topics are delivered, else 500.
    asgi_routes=[("/health", make_ping_asgi(broker, timeout=1.0))],
)
