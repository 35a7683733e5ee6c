"""The commands, each a function: a client, an output and arguments in, an exit code out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, islice
from typing import Any

from redis.exceptions import NoPermissionError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console import formatting
from faststream_redis_timers_sync.console.errors import DONE, FAILED, UNKNOWN_ID, explain
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.check import check_server
from faststream_redis_timers_sync.manage.contents import MOST_BODY, body_text
from faststream_redis_timers_sync.manage.errors import if_allowed
from faststream_redis_timers_sync.manage.forecast import (
    MOST_TOPICS,
    NOTE,
    Forecasts,
    Range,
    largest,
)
from faststream_redis_timers_sync.manage.permissions import joined_rules
from faststream_redis_timers_sync.manage.roles import ROLES, role_rule
from faststream_redis_timers_sync.manage.selection import OnExamined, list_timers as select_timers
from faststream_redis_timers_sync.manage.series import with_series
from faststream_redis_timers_sync.manage.server import count_keys, internals_of, server_time
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.manage.text import quoted
from faststream_redis_timers_sync.manage.topics import (
    TopicScan,
    describe_elsewhere,
    listening_topics,
    scan_topics,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE
from faststream_redis_timers_sync.protocol.model import Timer

NONE_PENDING = "no timer{} is pending in topic {}"
"""Says that a topic, or a pattern in it, has no timer to act on."""

_SLICE = 0.2
"""Seconds of scanning between two signs of progress."""

_FIRST = 100
"""Timers of a list that decide whether it has a column of definitions."""


def perform(
    output: Output, timers: TimersClient, action: Callable[..., int], **arguments: Any
) -> int:
    """Perform an action, and report an error as a sentence.

    Args:
        output: Where it writes.
        timers: The client.
        action: A function of this module, of `changes` or of `watch`.
        arguments: Its arguments.

    Returns:
        The exit code.
    """
    try:
        return action(timers, output, **arguments)
    except (Exception, KeyboardInterrupt) as error:
        explained = explain(error, internals_of(timers).runner)
        if explained is None:
            raise
        output.error(str(explained))
        return explained.exit_code


def find_topics(
    timers: TimersClient, output: Output, known: Iterable[str] = (), *, scan: bool = True
) -> list[str]:
    """Find topics: the known ones, those that workers listen to, and all others by a scan.

    Args:
        timers: The client.
        output: Receives progress and remarks.
        known: Topics that the application names.
        scan: Whether to scan all keys of the database.

    Returns:
        The topics, sorted.
    """
    topics = set(known)
    try:
        topics.update(listening_topics(timers))
    except NoPermissionError:
        output.note("no permission for PUBSUB: listening workers are unknown")
    if scan:
        try:
            topics |= _scan(timers, output)
        except NoPermissionError:
            output.note("no permission for SCAN: topics that no worker listens to must be named")
    return sorted(topics)


def _scan(timers: TimersClient, output: Output) -> set[str]:
    topics: set[str] = set()
    elsewhere: set[str] = set()
    with output.progress("Looking for topics", count_keys(timers)) as advance:
        part: TopicScan | None = None
        while part is None or part.cursor:
            part = scan_topics(timers, part.cursor if part else "", seconds=_SLICE)
            topics |= part.topics
            elsewhere |= part.elsewhere
            advance(part.examined)
    if part.has_gaps:
        output.note(
            "topics may be missing: slots of the cluster moved during the search, so search again"
        )
    if only_there := sorted(elsewhere - topics):
        _warn_of_layout(timers, output, only_there)
    return topics


def _warn_of_layout(timers: TimersClient, output: Output, topics: Sequence[str]) -> None:
    output.note(f"WARNING: {describe_elsewhere(timers, topics)}: {REMEDY_ELSEWHERE}")


def show_topics(
    timers: TimersClient, output: Output, *, known: Iterable[str] = (), scan: bool = True
) -> int:
    """Show topics, how many timers are pending there and how many workers listen.

    Args:
        timers: The client.
        output: Where to.
        known: Topics that the application names.
        scan: Whether to look through all keys of the database.
    """
    topics = find_topics(timers, output, known, scan=scan)
    if not topics:
        output.note("no topics found")
        return DONE
    with suppress(NoPermissionError):
        if in_both := topics_elsewhere(timers, topics):
            _warn_of_layout(timers, output, in_both)
    found = count_topics(timers, topics).topics
    if output.as_json:
        for stats in found:
            output.record(formatting.topic_record(stats))
    else:
        output.table(formatting.TOPIC_COLUMNS, map(formatting.topic_row, found))
    return DONE


def show_stats(
    timers: TimersClient,
    output: Output,
    *,
    topics: Sequence[str] = (),
    known: Iterable[str] = (),
    scan: bool = True,
) -> int:
    """Show what topics hold and when it is due.

    Args:
        timers: The client.
        output: Where to.
        topics: The topics; none means all that can be found.
        known: Topics that the application names.
        scan: Whether finding them looks through all keys of the database.
    """
    chosen = list(dict.fromkeys(topics)) or find_topics(timers, output, known, scan=scan)
    if not chosen:
        output.note("no topics found")
        return DONE
    snapshot = count_topics(timers, chosen)
    if output.as_json:
        for stats in snapshot.topics:
            output.record(formatting.stats_record(stats))
    else:
        output.table(formatting.STATS_COLUMNS, map(formatting.stats_row, snapshot.topics))
    for stats in snapshot.topics:
        if topics and not stats.pending:
            note_none(output, stats.topic, None)
    return DONE


def show_forecast(
    timers: TimersClient,
    output: Output,
    *,
    reach: str,
    topics: Sequence[str] = (),
    known: Iterable[str] = (),
    scan: bool = True,
) -> int:
    """Show how many timers of topics are due when, all topics together.

    Args:
        timers: The client.
        output: Where to.
        reach: The name of the range.
        topics: The topics; none means all that can be found, or the largest of them.
        known: Topics that the application names.
        scan: Whether finding them looks through all keys of the database.
    """
    chosen = list(dict.fromkeys(topics))
    if not chosen:
        found = find_topics(timers, output, known, scan=scan)
        if not found:
            output.note("no topics found")
            return DONE
        chosen = found if len(found) <= MOST_TOPICS else largest(count_topics(timers, found).topics)
        if len(found) > len(chosen):
            output.note(
                f"forecast of the {len(chosen)} topics with the most timers, "
                f"of {len(found):,} found"
            )
    forecast = Forecasts(timers).of(chosen, Range(reach), output.zone)
    if output.as_json:
        output.record(formatting.forecast_record(forecast))
    else:
        output.table(formatting.forecast_columns(forecast), formatting.forecast_rows(forecast))
        output.note(NOTE)
    if topics:
        for stats in count_topics(timers, chosen).topics:
            if not stats.pending:
                note_none(output, stats.topic, None)
    return DONE


def list_timers(
    timers: TimersClient,
    output: Output,
    *,
    topic: str,
    match: str | None = None,
    limit: int | None = None,
    recurring: bool = False,
) -> int:
    """List the timers of a topic, without their bodies.

    The table has a column of definitions if one of the first 100 timers is recurring.

    Args:
        timers: The client.
        output: Where to.
        topic: The topic.
        match: Only ids that match this glob pattern; without a limit, in no order.
        limit: Only the earliest so many.
        recurring: Only recurring timers.
    """
    now = server_time(timers, topic)
    count = 0

    def counted(found: Iterable[Timer]) -> Iterator[Timer]:
        nonlocal count
        for timer in found:
            count += 1
            yield timer

    # With both a limit and a pattern, all timers are examined before the first is printed.
    with examining(timers, output, topic, if_=match is not None and limit is not None) as advance:
        selected = select_timers(
            timers, topic, match=match, limit=limit, recurring=recurring, on_examined=advance
        )
    found = counted(selected if recurring else with_series(timers, topic, selected))
    if output.as_json:
        for timer in found:
            output.record(formatting.timer_record(topic, timer, now))
    else:
        first = list(islice(found, _FIRST))
        columns, row = formatting.TIMER_COLUMNS, formatting.timer_row
        if any(timer.repeat is not None for timer in first):
            columns, row = formatting.SERIES_COLUMNS, formatting.series_row
        output.table(columns, (row(timer, now, output.zone) for timer in chain(first, found)))
    if not count:
        kind = "recurring timer" if recurring else "timer"
        note_none(output, topic, match, NONE_PENDING.replace("timer", kind))
    return DONE


def show_timer(
    timers: TimersClient, output: Output, *, topic: str, timer_id: str, raw: bool = False
) -> int:
    """Show a timer with its body and headers.

    Args:
        timers: The client.
        output: Where to.
        topic: Its topic.
        timer_id: Its id.
        raw: Whether to write its body alone, exactly.
    """
    timer = timers.get_timer(topic, timer_id)
    if timer is None:
        output.error(unknown(topic, timer_id))
        return UNKNOWN_ID
    now = server_time(timers, topic)
    if raw:
        output.raw(timer.body)
    elif output.as_json:
        output.record(formatting.timer_details(topic, timer, now))
    else:
        output.facts(formatting.timer_facts(topic, timer, now, output.zone))
        body, is_json = body_text(timer)
        output.text(body[:MOST_BODY], is_json=is_json)
        if len(body) > MOST_BODY:
            output.note(f"cut after {MOST_BODY:,} characters: --raw prints all of it")
    return DONE


def schedule(
    timers: TimersClient, output: Output, *, topic: str, message: Any, **options: Any
) -> int:
    """Schedule a timer and print its id; for a recurring timer, also say when it is due next.

    Args:
        timers: The client.
        output: Where to.
        topic: Its topic.
        message: The message, as `TimersClient.schedule` takes it.
        options: Further arguments of `TimersClient.schedule`.
    """
    was_recurring = False
    if options.get("timer_id") is not None and options.get("repeat") is None:
        # A user without the right to read can still schedule.
        with if_allowed():
            before = timers.get_timer(topic, options["timer_id"])
            was_recurring = before is not None and before.repeat is not None
    timer_id = timers.schedule(message, topic, **options)
    timer = None
    if options.get("repeat") is not None:
        # A timer that existed with this definition has kept its time. A user without the right
        # to read can still schedule.
        with if_allowed():
            timer = timers.get_timer(topic, timer_id)
    if output.as_json:
        record = {"topic": topic, "timer_id": timer_id}
        output.record(record | ({} if timer is None else {"due_at": formatting.due_at(timer)}))
    else:
        output.line(timer_id)
        if timer is not None:
            output.note(formatting.next_text(timer, server_time(timers, topic), output.zone))
    if was_recurring and options.get("if_exists") != "keep":
        output.note(f"timer {quoted(timer_id)} was recurring: its series has ended")
    note_past(timers, output, topic, options.get("activate_at"))
    return DONE


def check(
    timers: TimersClient, output: Output, *, topic: str = "any", role: str | None = None
) -> int:
    """Check the server for problems, or print the ACL rule that a role needs.

    Args:
        timers: The client.
        output: Where to.
        topic: The topic to check permissions for; it need not exist.
        role: A name of `ROLES`: only its rule is printed, and the server is not asked.

    Returns:
        The exit code: 1 if a finding is an error.
    """
    if role is not None:
        rule = role_rule(timers, ROLES[role])
        if output.as_json:
            output.record({"role": role, "rule": rule})
        else:
            output.line(rule)
        return DONE
    findings = list(check_server(timers, topic))
    if output.as_json:
        for finding in findings:
            output.record(formatting.finding_record(finding))
    else:
        output.table(formatting.FINDING_COLUMNS, map(formatting.finding_row, findings))
        if rule := joined_rules([finding.rule for finding in findings if finding.rule]):
            where = (
                " (each node has its own users)" if internals_of(timers).runner.is_cluster else ""
            )
            output.line(f"\nThis command grants the missing permissions{where}:\n\n{rule}")
    return FAILED if any(finding.level == "error" for finding in findings) else DONE


@contextmanager
def examining(
    timers: TimersClient, output: Output, topic: str, *, if_: bool = True
) -> Iterator[OnExamined | None]:
    """Show the progress of a walk over all timers of a topic.

    Args:
        timers: The client.
        output: Where to.
        topic: The topic.
        if_: Whether to show it at all.
    """
    if not if_:
        yield None
        return
    title = f"Looking through {quoted(topic)}"
    with output.progress(title, timers.count_pending(topic)) as advance:
        yield advance


def note_none(output: Output, topic: str, match: str | None, sentence: str = NONE_PENDING) -> None:
    """Remark that there was nothing to do.

    Args:
        output: Where to.
        topic: The topic.
        match: The pattern, if one was given.
        sentence: The remark, with placeholders for the pattern and the topic.
    """
    which = "" if match is None else f" that matches {quoted(match)}"
    output.note(sentence.format(which, quoted(topic)))


def note_past(
    timers: TimersClient, output: Output, topic: str, activate_at: datetime | None
) -> None:
    """Remark that a time is in the past, which may be a mistake.

    Args:
        timers: The client.
        output: Where to.
        topic: The timer's topic.
        activate_at: The time that was given.
    """
    if activate_at is not None and activate_at < server_time(timers, topic):
        output.note("that time is past: due at once")


def unknown(topic: str, timer_id: str) -> str:
    """Return the sentence that a timer is not pending.

    Args:
        topic: Its topic.
        timer_id: Its id.
    """
    return f"no timer {quoted(timer_id)} is pending in topic {quoted(topic)}"
