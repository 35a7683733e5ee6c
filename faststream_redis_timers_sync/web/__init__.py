"""Web pages to see and change timers, for any ASGI or WSGI application.

    pages = TimerPages(timers, allow=lambda request: Access("ops", may={"run", "redrive"}))
    app.mount("/timers", pages.asgi)

`allow` decides for each request who may see and do what. The logic of the pages is in `manage`.
"""

from faststream_redis_timers_sync.web.access import Access, AskPassword
from faststream_redis_timers_sync.web.messages import Request
from faststream_redis_timers_sync.web.pages import TimerPages

__all__ = ("Access", "AskPassword", "Request", "TimerPages")
