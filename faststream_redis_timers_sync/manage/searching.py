"""Pages of the timers whose ids match a search.

The server has no order of ids: a search examines the whole topic, page by page of the server's own
hash table. If there is time for that, timers come in order of due time, and are counted. If not, a
page has those that were found until it was full, and the next page continues there: each page is
ordered by itself, and timers are not counted.
"""

from datetime import timedelta

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import TimeUpError
from faststream_redis_timers_sync.manage.pages import (
    Cursor,
    Keep,
    Only,
    Page,
    entries_of,
    keeper,
    read_page,
)
from faststream_redis_timers_sync.manage.selection import OnExamined, pattern_of
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id
from faststream_redis_timers_sync.protocol.listing import (
    SCAN_STEP,
    make_timer,
    parse_entries,
    step_after,
)
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import reading

_Rank = tuple[float, bytes]


def search_page(  # noqa: PLR0913  which timers, and which part of them
    timers: TimersClient,
    topic: str,
    search: str,
    *,
    only: Only | None = None,
    after: Cursor | None = None,
    limit: int = 100,
    longest_lease: timedelta | None = None,
    on_examined: OnExamined | None = None,
) -> Page:
    """Read a page of the timers that match a search; of all timers if the search is empty.

    To find all timers that exist throughout, continue until there is no `Page.end`. Each is found
    once, but for a few that may appear twice while the topic grows or shrinks by half. If the
    server fails over during a cut search, search again: another server walks through a topic in
    another order.

    Args:
        timers: The client.
        topic: The topic.
        search: A part of an id, or a pattern, as `pattern_of` reads it.
        only: Only timers of this kind or state.
        after: Where the page before ended; None starts.
        limit: How many timers a page has, at most 500; a few more if a search was cut.
        longest_lease: The longest `lease_ttl` of the topic's subscribers: with it a page of
            running timers stops where leases end.
        on_examined: Called after each step with the number of timers examined. If it raises
            `TimeUpError`, the page has the timers found so far, and is cut. The timer whose id
            equals the search is on the first page even then.

    Raises:
        ValueError: The topic is empty.
        redis.RedisError: The server or the connection failed.
    """
    pattern = pattern_of(search)
    if pattern is None:
        return read_page(
            timers,
            topic,
            only=only,
            after=after,
            limit=limit,
            longest_lease=longest_lease,
            on_examined=on_examined,
        )
    keep = None if only is None else keeper(timers, topic, only, server_time(timers, topic))
    walk = _Search(timers, topic, pattern, search, keep, limit)
    return walk.read(after or Cursor(), on_examined)


class _Search:
    """A search by pattern.

    Args:
        timers: The client.
        topic: The topic.
        pattern: The glob pattern.
        whole: The search, which may be a whole id.
        keep: Filters by the page's kind or state; None keeps all.
        limit: How many timers a page has.
    """

    def __init__(
        self,
        timers: TimersClient,
        topic: str,
        pattern: str,
        whole: str,
        keep: Keep | None,
        limit: int,
    ) -> None:
        self._timers = timers
        self._topic = topic
        self._pattern = encode_known_id(pattern)
        self._whole = whole
        self._keep = keep
        self._limit = limit
        self._found: dict[bytes, bytes] = {}
        """Scores of those found behind the last page in order, by id, as far as they are kept."""
        self._matching = 0
        self._behind = 0
        """How many were found, and how many of these are behind that page."""

    def read(self, after: Cursor, on_examined: OnExamined | None) -> Page:
        """Read a page.

        Args:
            after: Where the page before ended; one that is empty begins.
            on_examined: As `search_page` has it.
        """
        position, examined = after.position, after.examined
        begin = (float(after.score), encode_known_id(after.timer_id)) if after.score else None
        full: tuple[dict[bytes, bytes], int, int] | None = None
        while True:
            size = self._step_size(examined - after.examined)
            position = self._step(position, size, begin, is_part=after.position > 0)
            examined += size
            if not position:
                break
            if full is None and len(self._found) >= self._limit:
                full = dict(self._found), position, examined
                if after.position:
                    break
            try:
                if on_examined is not None:
                    on_examined(size)
            except TimeUpError:
                break
            self._trim()
        if position and full is not None:
            self._found, position, examined = full
        if position or after.position:
            if not after.position:
                self._look_for_whole(begin)
            end = after._replace(examined=examined, position=position) if position else None
            return self._part(end, examined)
        return self._whole_page(examined)

    def _step_size(self, looked_at: int) -> int:
        """Return how many timers the next step examines: as few as it takes to fill the page."""
        room = self._limit - len(self._found)
        if room > 0:
            if not looked_at:
                return self._limit
            expected = room * looked_at // len(self._found) if self._found else SCAN_STEP
            return max(_LEAST_STEP, min(expected, SCAN_STEP))
        return step_after(self._matching, looked_at)

    def _step(self, position: int, size: int, begin: _Rank | None, *, is_part: bool) -> int:
        """Examine some timers, and return the position after them; 0 at the end."""
        runner, keys, _ = reach = internals_of(self._timers)
        args = (b"%d" % position, self._pattern, b"%d" % size)
        operation = reading("scan", keys, reach.full(self._topic), args, parse_entries)
        cursor, entries = runner.run(operation)
        found = [(timer_id, score) for timer_id, score, _ in entries]
        if self._keep is not None:
            found = self._keep(found)
        self._matching += len(found)
        if begin is not None:
            found = [(one, score) for one, score in found if (float(score), one) > begin]
        self._behind += len(found)
        # The timer of this very id was on the first page.
        whole = encode_known_id(self._whole) if is_part else None
        self._found.update((one, score) for one, score in found if one != whole)
        return int(cursor)

    def _trim(self) -> None:
        """Drop timers that are after the page in any case."""
        # One more shows whether there is a next page.
        if len(self._found) > 10 * self._limit:
            self._found = dict(self._in_order()[: self._limit + 1])

    def _in_order(self) -> list[tuple[bytes, bytes]]:
        return sorted(self._found.items(), key=lambda entry: (float(entry[1]), entry[0]))

    def _part(self, end: Cursor | None, examined: int) -> Page:
        shown = self._made(self._in_order())
        return Page(shown, end, is_cut=end is not None, examined=examined)

    def _whole_page(self, examined: int) -> Page:
        entries = self._in_order()[: self._limit]
        end = None
        if self._behind > len(entries) and entries:
            timer_id, score = entries[-1]
            end = Cursor(score.decode(), decode_id(timer_id))
        return Page(self._made(entries), end, self._matching, examined=examined)

    def _made(self, entries: list[tuple[bytes, bytes]]) -> list[Timer]:
        full = internals_of(self._timers).full(self._topic)
        return [make_timer(full, *entry) for entry in entries]

    def _look_for_whole(self, begin: _Rank | None) -> None:
        """Look for the timer whose id equals the search, before the user has to continue long."""
        found = entries_of(self._timers, self._topic, [self._whole])
        if self._keep is not None:
            found = self._keep(found)
        self._found.update(
            (one, score) for one, score in found if begin is None or (float(score), one) > begin
        )


_LEAST_STEP = 10
"""The fewest timers that a step examines."""
