"""Random histories of operations on timers, for comparing two who answer operations."""

from datetime import UTC, datetime, timedelta

from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.listing import parse_entries
from faststream_redis_timers_sync.protocol.management import (
    cancel_some,
    count_running,
    forecast,
    move_some,
    overview,
    pause_one,
    read_definitions,
)
from faststream_redis_timers_sync.protocol.model import CommitGroup, Settlement
from faststream_redis_timers_sync.protocol.operation import Operation, reading
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import Cron, Every
from faststream_redis_timers_sync.protocol.timers import encode_timer
from faststream_redis_timers_sync.protocol.times import score_text

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
TOPICS = ["invoices", "invoices", "invoices", "other"]
IDS = ["a", "b", "é"]
SECONDS = [-1.0, 0.0, 0.000001, 1.0, 30.0, 30.25, 31.5, 3600.0]
LENGTHS = [timedelta(minutes=1), timedelta(hours=1)]
REPEATS = [Every(seconds=30), Every(seconds=45, start=START), Cron("*/2 * * * *")]
OWNERS = [None, "shop", "büro"]


class History:
    """What has been claimed so far, and who is asked.

    Args:
        clock: Has a method ``tick`` that lets time pass.
        ids: The ids that timers have.
        **key_names: Names of the keys, as `KeySpace` takes them.
    """

    def __init__(self, clock, ids=IDS, **key_names):
        self.clock = clock
        self.ids = ids
        self.keys = KeySpace(**key_names)
        self.operations = Operations(self.keys)
        self.claims = []

    def ask(self, operation):
        """Ask both, compare their answers, and give one of them."""
        raise NotImplementedError

    def list_all(self, topic, **bounds):
        pages = self.operations.iterate(topic, **bounds)
        reply = None
        while (step := next_step(pages, reply)) is not None:
            reply = self.ask(step) if isinstance(step, Operation) else None

    def ask_steps(self, steps):
        reply = None
        while (operation := next_step(steps, reply)) is not None:
            reply = self.ask(operation)

    def go_on(self, choice, count):
        """Let some things happen.

        Args:
            choice: A random generator.
            count: How many things.
        """
        for event in choice.choices(list(EVENTS), list(EVENTS.values()), k=count):
            event(
                self,
                choice.choice(TOPICS),
                choice.choice(self.ids),
                choice.choice(SECONDS),
                choice.randbytes(choice.randrange(3)),
                choice.choice(["replace", "keep", "error"]),
            )


def next_step(pages, reply):
    try:
        return pages.send(reply)
    except StopIteration:
        return None


# --- what can happen


def schedule(history, topic, timer_id, delay, body, if_exists):
    timer = encode_timer(body, None, timer_id=timer_id, activate_in=timedelta(seconds=delay))
    history.ask(history.operations.schedule(topic, timer, if_exists))


def schedule_at(history, topic, timer_id, delay, body, if_exists):
    at = START + timedelta(seconds=delay)
    timers = [
        encode_timer(body, None, timer_id=one, activate_at=at)
        for one in dict.fromkeys((timer_id, "b", "d"))
    ]
    (operation,) = history.operations.schedule_calls(topic, timers, if_exists)
    history.ask(operation)


def schedule_series(history, topic, timer_id, delay, body, if_exists):
    timer = encode_timer(
        body,
        None,
        timer_id=timer_id,
        repeat=REPEATS[sum(body) % len(REPEATS)],
        repeat_owner=OWNERS[len(body)],
    )
    timers = with_first_times(history, topic, [timer])
    # What is asked for by name is rare.
    words = None if delay < SECONDS[-2] else if_exists
    history.ask(history.operations.schedule_calls(topic, timers, words)[0])


def with_first_times(history, topic, timers):
    steps = history.operations.find_first_times(topic, timers)
    try:
        steps.send(history.ask(next(steps)))
    except StopIteration as ended:
        return ended.value


def schedule_all_kinds(history, topic, timer_id, delay, body, _):
    length = timedelta(seconds=delay)
    series = [
        encode_timer(body, None, timer_id=one, repeat=repeat)
        for one, repeat in zip(dict.fromkeys((timer_id, "b", "d")), REPEATS, strict=False)
    ]
    once = encode_timer(body, None, timer_id="once", activate_in=length)
    timers = with_first_times(history, topic, [series[0], once, *series[1:]])
    history.ask(history.operations.schedule_calls(topic, timers)[0])


def pause(history, topic, timer_id, *_):
    history.ask(history.operations.pause(topic, timer_id))
    history.ask(pause_one(history.keys, topic, timer_id))


def resume(history, topic, timer_id, *_):
    history.ask_steps(history.operations.resume(topic, timer_id))


def prune(history, topic, timer_id, delay, body, _):
    owner = OWNERS[1 + len(body) % 2]
    history.ask(history.operations.prune(topic, timer_id, owner))


def reschedule(history, topic, timer_id, delay, *_):
    length = timedelta(seconds=delay)
    history.ask(
        history.operations.reschedule(topic, timer_id, activate_in=length, activate_at=None)
    )


def move(history, topic, timer_id, delay, *_):
    at = START + timedelta(seconds=delay)
    history.ask(move_some(history.keys, topic, [timer_id, "x"], activate_in=None, activate_at=at))


def cancel(history, topic, timer_id, *_):
    history.ask(cancel_some(history.keys, topic, [timer_id, "x"]))


def cancel_all(history, topic, *_):
    history.ask(history.operations.cancel_all(topic))


def look(history, topic, timer_id, delay, *_):
    moment = START + timedelta(seconds=delay)
    history.ask(history.operations.has_pending(topic, timer_id))
    history.ask(history.operations.get(topic, timer_id))
    history.ask(history.operations.count(topic))
    history.ask(overview(history.keys, TOPICS[2:], LENGTHS))
    whole = [START + timedelta(seconds=seconds) for seconds in (-1, 0, 30, 60, 3600)]
    history.ask(forecast(history.keys, TOPICS[2:], whole))
    history.ask(read_definitions(history.keys, topic, [timer_id, "x"]))
    history.ask(count_running(history.keys, topic, timedelta(seconds=30)))
    history.list_all(topic)
    history.list_all(f"{topic}:dead")
    history.list_all(topic, after=moment)
    history.list_all(topic, before=moment)
    look_page_by_page(history, topic, moment)


def look_page_by_page(history, topic, moment):
    """Read pages as those do that show timers to people: few timers each, from a cursor on."""
    for lowest, highest in [(b"-inf", b"+inf"), (score_text(moment), b"+inf"),
                            (b"-inf", score_text(moment))]:  # fmt: skip
        more, score, timer_id = b"1", b"", b""
        while more == b"1":
            args = (b"2", highest, lowest, score, timer_id)
            more, entries = history.ask(reading("page", history.keys, topic, args, parse_entries))
            if entries:
                timer_id, score, _ = entries[-1]


def claim(history, topic, _, delay, *__):
    step(history, topic, [], delay, limit=2)


def settle(action):
    def settle(history, topic, timer_id, delay, *_):
        limit = int(timer_id == "a")
        some = [one for one in history.claims if one[0] == topic][-4:]
        detail = {
            b"commit": b"",
            b"nack": b"" if delay < 1 else b"+%.6f" % delay,
            b"renew": b"%.6f5" % (START.timestamp() + delay),
            b"recount": b"%d" % (delay > 1),
        }
        # A worker settles a timer once: of each id the last lease, or the one before.
        unique = {claimed.timer_id: (claimed, lease) for _, claimed, lease in some[: 4 - limit]}
        settlements = [
            Settlement(
                action,
                claimed.timer_id,
                b"1.0000005 " + lease,
                dead_letter_of(topic, claimed)
                if action == b"dead"
                else detail.get(action, claimed.previous_score),
            )
            for claimed, lease in unique.values()
        ]
        step(history, topic, settlements, delay, limit)

    return settle


def commit_in_groups(history, topic, timer_id, delay, body, _):
    limit = int(timer_id == "a")
    by_lease = {}
    for _, claimed, lease in latest(history, topic):
        by_lease.setdefault(lease, {})[claimed.timer_id] = claimed
    groups = [CommitGroup(b"1.0000005 " + lease, [*some]) for lease, some in by_lease.items()]
    last = [Settlement(b"renew", one, lease, b"%.6f5" % (START.timestamp() + 4000))
            for lease, some in by_lease.items() for one in some][: len(body)]  # fmt: skip
    step(history, topic, last, delay, limit, groups)


def repeat(history, topic, timer_id, delay, body, _):
    limit = int(timer_id == "a")
    some = {claimed.timer_id: (claimed, lease) for _, claimed, lease in latest(history, topic)}
    settlements = []
    for claimed, lease in some.values():
        due = b"%.6f" % (START.timestamp() + delay)
        dead_letter = b" " + dead_letter_of(topic, claimed) if len(body) == 2 else b""
        moved_on = Settlement(b"repeat", claimed.timer_id, lease, due + dead_letter)
        # A renewal and a count that is put right may travel with what ends it, in any order.
        proposed = b"%.6f5" % (START.timestamp() + 4000)
        beside = [
            Settlement(b"recount", claimed.timer_id, lease, b"1"),
            Settlement(b"renew", claimed.timer_id, lease, proposed),
            Settlement(b"release", claimed.timer_id, lease, claimed.previous_score),
            Settlement(b"nack", claimed.timer_id, lease, b"+5.000000"),
            Settlement(b"commit", claimed.timer_id, lease),
        ][sum(body) % 7 :][:1]
        settlements += [moved_on, *beside] if sum(body) % 2 else [*beside, moved_on]
    step(history, topic, settlements, delay, limit)


def latest(history, topic):
    return [one for one in history.claims if one[0] == topic][-3:]


def dead_letter_of(topic, claimed):
    ending = Ending(
        reason="attempts",
        topic=topic,
        timer_id=claimed.timer_id,
        first_due=claimed.first_due or claimed.previous_score,
        attempts=claimed.attempt,
    )
    return write_dead_letter(claimed.payload, ending)


def redrive(history, topic, *_):
    history.ask_steps(history.operations.redrive(f"{topic}:dead"))


def step(history, topic, settlements, delay, limit, groups=()):
    # On one topic attempts are counted, on the other not.
    operation = history.operations.settle_and_claim(
        topic,
        settlements,
        groups,
        limit=limit,
        lease_ttl=30.25,
        jitter=int(abs(delay)),
        suspect_from=2 if topic == TOPICS[0] else None,
        most_suspects=round(abs(delay)) % 5 - 2,
        dead_topic=f"{topic}:dead",
        call=b"1 2 2 1 5.5" if limit % 2 else b"",
    )
    done = history.ask(operation)
    history.claims += [(topic, claimed, done.lease) for claimed in done.claimed]


def tick(history, _, __, delay, *___):
    history.clock.tick(timedelta(seconds=abs(delay)))


EVENTS = {
    schedule: 3,
    schedule_at: 1,
    schedule_series: 3,
    schedule_all_kinds: 0.5,
    pause: 0.7,
    resume: 0.7,
    prune: 0.3,
    reschedule: 1,
    move: 1,
    cancel: 1,
    cancel_all: 0.1,
    look: 3,
    claim: 4,
    settle(b"commit"): 1,
    commit_in_groups: 1,
    settle(b"nack"): 2,
    settle(b"release"): 2,
    settle(b"renew"): 1,
    settle(b"recount"): 2,
    settle(b"dead"): 1,
    repeat: 3,
    redrive: 0.3,
    tick: 3,
}
