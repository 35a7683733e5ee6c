"""A server on plain data: it carries out scripts."""

from redis.exceptions import NoScriptError, ResponseError
from simulation.cores.plain_data import PlainData
from simulation.network import Request, Server


class PlainServer(Server):
    """Carries out scripts on plain data, by a clock that can be set.

    Args:
        clock: See `Server`.
        watch: See `Server`.
        writes_17_digits: See `PlainData`.
    """

    def __init__(self, clock, watch, *, writes_17_digits):
        super().__init__(clock, watch)
        self._data = PlainData(
            writes_17_digits=writes_17_digits, count_listeners=self.count_listeners
        )
        self._known = set()
        self.read_set = self._data.read_set
        self.read_hash = self._data.read_hash
        self.read_fields = self._data.read_fields
        self.read_keys = self._data.read_keys

    def forget_scripts(self):
        self._known.clear()

    def carry_out(self, link, request):
        if request.name == "SUBSCRIBE":
            self.subscribe(link, request.what)
            return [b"subscribe", request.what, 1], ()
        if request.name == "UNSUBSCRIBE":
            self.forget(link, request.what)
            return [b"unsubscribe", request.what, 0], ()
        if request.name == "TIME":
            return [b"%d" % part for part in divmod(int(self.now * 1_000_000), 1_000_000)], ()
        if request.name == "EVAL":
            self._known.add(request.sha)
        elif request.sha not in self._known:
            return NoScriptError("No matching script"), ()
        now = int(self.now * 1_000_000)
        try:
            reply, published = self._data.run(request.what, request.keys, request.args, now)
        except ResponseError as error:
            return error, ()
        return reply, zip(published[::2], published[1::2], strict=True)


def request_of(operation, *, by_text=False):
    """Make the request of an operation.

    Args:
        operation: The operation.
        by_text: Whether it brings its script.
    """
    script = operation.script
    if script is None:
        return Request("TIME", None, (), (), None)
    name = "EVAL" if by_text else "EVALSHA"
    return Request(name, script.sha, operation.keys, operation.args, script)
