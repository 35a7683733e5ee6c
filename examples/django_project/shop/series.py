"""The recurring timers that the shop declares, named by `SERIES` in its settings."""

from faststream_redis_timers_sync import Cron, Series

COUNTS_TOPIC = "order-counts"

SERIES = [
    Series("unpaid", COUNTS_TOPIC, timer_id="daily", repeat=Cron("0 6 * * *", tz="Europe/Berlin"))
]
