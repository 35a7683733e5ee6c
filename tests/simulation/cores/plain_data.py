"""A server that is no more than its data: it runs the library's scripts, and knows no network.

Commands and data are in `plain_data.lua`. The caller says what time it is.
"""

from functools import cache
from pathlib import Path

from lupa import lua51
from redis.exceptions import ResponseError

from faststream_redis_timers_sync.protocol.glob import glob


class PlainData:
    """Sorted sets and hashes, and scripts that change them.

    Args:
        writes_17_digits: Whether scores are written with 17 digits, as Redis 7.0 does; later
            versions write as few as tell a score from all others.
        count_listeners: Tells how many listen to a channel.
    """

    def __init__(self, *, writes_17_digits=False, count_listeners=lambda _: 0):
        self._engine = _engine()
        self._data = self._engine.make_server(writes_17_digits, count_listeners)

    def run(self, script, keys, args, now):
        """Run a script.

        Args:
            script: The script.
            keys: Its keys.
            args: Its other arguments.
            now: The time in microseconds since 1970.

        Returns:
            Its reply, and what it has published: a channel, a message, and so on.

        Raises:
            ResponseError: It has failed. What it has done until then stands, as on a server.
        """
        engine = self._engine
        seconds, microseconds = divmod(now, 1_000_000)
        try:
            reply, *published = engine.run(
                self._data,
                engine.compiled(script),
                b"%d" % seconds,
                b"%d" % microseconds,
                engine.table_from(keys),
                engine.table_from(args),
            )
        except lua51.LuaError as error:
            raise ResponseError(str(error)) from error
        return reply, published if published[0] is not None else ()

    def read_set(self, key):
        """Give the scores of a sorted set by id, in order."""
        return _pairs(self._engine.read_set(self._data, key))

    def read_hash(self, key):
        """Give the values of a hash by field."""
        return _pairs(self._engine.read_hash(self._data, key))

    def read_fields(self, key):
        """Give the fields of a hash."""
        return _several(self._engine.read_fields(self._data, key))

    def read_keys(self):
        """Give all keys that hold something."""
        return _several(self._engine.read_keys(self._data))


class _Engine:
    """Lua, with the commands and the scripts that were run so far: one for all servers."""

    def __init__(self):
        lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        text = (Path(__file__).parent / "plain_data.lua").read_bytes()
        calls = lua.execute(text, _matches)
        self.table_from = lua.table_from
        self.make_server = calls[b"make_server"]
        self.run = calls[b"run"]
        self.read_set = calls[b"read_set"]
        self.read_hash = calls[b"read_hash"]
        self.read_fields = calls[b"read_fields"]
        self.read_keys = calls[b"read_keys"]
        self._compile = calls[b"compile"]
        self._scripts = {}

    def compiled(self, script):
        compiled = self._scripts.get(script.sha)
        if compiled is None:
            compiled = self._compile(script.text, script.name.encode())
            self._scripts[script.sha] = compiled
        return compiled


_engine = cache(_Engine)


def _matches(pattern, timer_id):
    return glob(pattern).fullmatch(timer_id) is not None


def _several(found):
    # Lua gives several as a tuple, and a single one as it is.
    return found if isinstance(found, tuple) else () if found is None else (found,)


def _pairs(found):
    return dict(zip(found[::2], found[1::2], strict=True)) if found else {}
