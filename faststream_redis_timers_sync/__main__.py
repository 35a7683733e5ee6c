"""``python -m faststream_redis_timers_sync``: the command line."""

from faststream_redis_timers_sync.cli import main

if __name__ == "__main__":
    main()
