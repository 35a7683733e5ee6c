"""Timers that wait for the commit of a database transaction."""

import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import redis
from django.db import transaction
from django.test import override_settings
from django_project.models import Invoice
from on_commit_calls import HOUR, RollBack, pending, schedule
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from relay import Relay

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import (
    Cron,
    Every,
    TimerNotReplicatedError,
    TimerOutcomeUnknownError,
    next_times,
)
from faststream_redis_timers_sync.django import (
    cancel_on_commit,
    get_client,
    schedule_on_commit,
)
from faststream_redis_timers_sync.testing import FakeTimersClient

NOON = datetime(2099, 6, 1, 12, tzinfo=UTC)


# --- the life of a call


def test_it_schedules_on_commit_and_not_before(timers):
    with transaction.atomic():
        timer_id = schedule_on_commit("INV-001", "invoices", activate_in=HOUR)
        assert pending(timers) == {}
    assert pending(timers) == {timer_id: "INV-001"}


def test_it_schedules_nothing_when_the_transaction_is_rolled_back(timers):
    with suppress(RollBack), transaction.atomic():
        schedule("a")
        cancel_on_commit("invoices", "b")
        raise RollBack
    with transaction.atomic():
        schedule("c")
    assert list(pending(timers)) == ["c"]


def test_it_schedules_at_once_where_there_is_no_transaction(timers):
    schedule("a")
    assert list(pending(timers)) == ["a"]
    cancel_on_commit("invoices", "a")
    assert pending(timers) == {}


def test_cancelling_waits_for_the_commit_too(timers):
    timers.schedule("first", "invoices", timer_id="a", activate_in=HOUR)
    with suppress(RollBack), transaction.atomic():
        assert cancel_on_commit("invoices", "a") is None
        raise RollBack
    with transaction.atomic():
        cancel_on_commit("invoices", "a")
        assert timers.has_pending("invoices", "a")
    assert not timers.has_pending("invoices", "a")


def test_what_a_timer_has_arrives(timers):
    with transaction.atomic():
        schedule_on_commit(
            {"number": 1},
            "invoices",
            timer_id="a",
            activate_at=NOON,
            correlation_id="order-7",
            headers={"x-tenant": "José"},
            reply_to="answers",
        )
    timer = timers.get_timer("invoices", "a")
    assert timer.decode() == {"number": 1}
    assert timer.due_at == NOON
    assert timer.correlation_id == "order-7"
    assert timer.headers["x-tenant"] == "José"
    assert timer.headers["reply_to"] == "answers"


def test_a_delay_counts_from_when_the_server_gets_the_timer(timers, redis_client):
    def server_time():
        seconds, microseconds = redis_client.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    with transaction.atomic():
        schedule("a")
        before = server_time()
    assert before + HOUR <= timers.get_timer("invoices", "a").due_at <= server_time() + HOUR


def test_the_message_is_encoded_at_the_call(timers):
    message = {"state": "at the call"}
    with transaction.atomic():
        schedule("a", message)
        message["state"] = "changed afterwards"
    assert pending(timers) == {"a": {"state": "at the call"}}


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ({"message": object()}, Exception),
        ({"topic": ""}, ValueError),
        ({"timer_id": ""}, ValueError),
        ({"activate_in": 30}, TypeError),
        ({"activate_at": datetime(2099, 6, 1)}, ValueError),  # noqa: DTZ001
        ({"activate_in": HOUR, "activate_at": NOON}, ValueError),
        ({"headers": {"x": object()}}, TypeError),
        ({"if_exists": "drop"}, ValueError),
        ({"if_exists": "error"}, ValueError),
        ({"if_exists": "update"}, ValueError),
        ({"repeat": Every(hours=1)}, ValueError),
        ({"repeat": HOUR, "timer_id": "a"}, TypeError),
        ({"repeat": Every(hours=1), "timer_id": "a", "activate_at": NOON}, ValueError),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_a_mistake_rolls_the_transaction_back(timers, mistake, error):
    @transaction.atomic
    def issue():
        Invoice.objects.create(number="INV-001")
        schedule_on_commit(**{"message": "first", "topic": "invoices", **mistake})

    with pytest.raises(error):
        issue()
    assert not Invoice.objects.exists()
    assert pending(timers) == {}


def test_a_mistake_in_cancelling_rolls_the_transaction_back(timers):
    @transaction.atomic
    def issue():
        Invoice.objects.create(number="INV-001")
        cancel_on_commit("invoices", "")

    with pytest.raises(ValueError, match="timer_id must not be empty"):
        issue()
    assert not Invoice.objects.exists()


def test_an_answer_that_nobody_would_hear_is_refused(timers):
    with pytest.raises(ValueError, match="can't be used with schedule_on_commit"):
        schedule("a", if_exists="error")


def test_keep_is_judged_after_the_commit(timers):
    with transaction.atomic():
        schedule("a", "new", if_exists="keep")
        timers.schedule("old", "invoices", timer_id="a", activate_in=HOUR)
    assert pending(timers) == {"a": "old"}


# --- recurring timers


def test_a_series_begins_with_the_commit(timers):
    daily = Cron("0 9 * * *", tz="Europe/Berlin")
    with transaction.atomic():
        schedule("a", activate_in=None, repeat=daily)
        assert pending(timers) == {}
    timer = timers.get_timer("invoices", "a")
    assert (timer.repeat, timer.paused) == (daily, False)
    assert timer.due_at in next_times(daily, 2, after=timer.due_at - 24 * HOUR)


def test_scheduled_again_a_series_keeps_its_time(timers):
    hourly = Every(hours=1)
    schedule("a", activate_in=None, repeat=hourly)
    timers.reschedule_timer("invoices", "a", activate_at=NOON)
    for if_exists in (None, "update"):
        with transaction.atomic():
            schedule("a", "new", activate_in=None, repeat=hourly, if_exists=if_exists)
        timer = timers.get_timer("invoices", "a")
        assert (timer.decode(), timer.due_at) == ("new", NOON)


# --- errors at the commit


@pytest.fixture
def broken_timers(server_url, key_settings):
    """Timers on a server that refuses."""
    with Relay(server_url) as relay:
        relay.refuse()
        with override_settings(TIMERS={"default": {"URL": relay.url, **key_settings}}):
            yield


def test_what_redis_refuses_comes_out_of_the_commit(broken_timers):
    @transaction.atomic
    def issue():
        Invoice.objects.create(number="INV-001")
        schedule("a")
        schedule("b")

    with pytest.raises(redis.ConnectionError) as raised:
        issue()
    assert Invoice.objects.exists()
    assert raised.value.__notes__ == [
        "on commit: schedule 'a' in topic 'invoices' and 1 more",
    ]


def test_robust_calls_are_logged_and_the_rest_goes_on(broken_timers, caplog):
    called = []
    with transaction.atomic():
        schedule("a", robust=True)
        transaction.on_commit(partial(called.append, "after"))
        cancel_on_commit("invoices", "b", robust=True)
    assert called == ["after"]
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in lines] == ["django.db.backends.base"] * 2
    assert all("OnCommit.send in on_commit()" in record.getMessage() for record in lines)


def test_a_failed_call_says_so_in_its_own_way_and_is_sent_once(server_url, key_settings, caplog):
    @transaction.atomic
    def issue():
        schedule("a", robust=True)
        schedule("b", robust=False)

    with Relay(server_url) as relay:
        aliases = {"default": {"URL": relay.url, **key_settings}}
        with override_settings(TIMERS=aliases):
            relay.lose_reply("EVAL", among=2)
            with pytest.raises(redis.ConnectionError):
                issue()
            assert relay.count("EVAL") == 2
            get_client().cancel_all("invoices")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_client_that_repeats_calls_sends_each_once(server_url, key_settings):
    """A call that is sent again would undo what others have done meanwhile."""
    lost = [redis.ConnectionError]
    with Relay(server_url) as relay:
        retry = Retry(ConstantBackoff(0.01), 3)
        client = redis.Redis.from_url(relay.url, retry=retry, retry_on_error=lost)
        aliases = {"default": {"CLIENT": lambda: client, **key_settings}}
        with override_settings(TIMERS=aliases):
            get_client().cancel_timer("invoices", "a")
            before = relay.count("EVALSHA")
            relay.lose_reply("EVALSHA")
            with pytest.raises(TimerOutcomeUnknownError), transaction.atomic():
                cancel_on_commit("invoices", "a")
            assert relay.count("EVALSHA") == before + 1
        client.close()


class FullAtFirst(redis.ConnectionPool):
    """A pool of one connection, which is in use when it is first asked for."""

    def fill(self):
        self.holder = redis.Redis(connection_pool=self).pipeline()
        # A pipeline that watches keeps its connection.
        self.holder.watch("some-key")

    def get_connection(self, *args, **options):
        try:
            return super().get_connection(*args, **options)
        except redis.ConnectionError:
            self.holder.reset()
            raise


def test_a_full_pool_is_waited_for(server_url, key_settings):
    pool = FullAtFirst.from_url(server_url, max_connections=1)
    client = redis.Redis(connection_pool=pool)
    with override_settings(TIMERS={"default": {"CLIENT": lambda: client, **key_settings}}):
        with transaction.atomic():
            schedule("a")
            schedule("b")
            pool.fill()
        assert set(pending(get_client())) == {"a", "b"}
    pool.disconnect()


def test_a_failed_commit_returns_its_connection(server_url, key_settings):
    with Relay(server_url) as relay:
        alias = {"URL": relay.url, "OPTIONS": {"max_connections": 1}, **key_settings}
        with override_settings(TIMERS={"default": alias}):
            relay.lose_reply("EVAL")
            with pytest.raises(redis.ConnectionError), transaction.atomic():
                schedule("a")
            assert get_client().cancel_timer("invoices", "a")


def test_an_error_names_no_message_and_the_other_calls_stand(timers, redis_client, key_names):
    @transaction.atomic
    def issue():
        schedule("a")
        schedule_on_commit("secret", "broken", activate_in=HOUR)
        schedule("c")

    redis_client.set(f"{key_names['payloads_key']}:broken", "no hash")
    with pytest.raises(redis.ResponseError) as raised:
        issue()
    redis_client.delete(f"{key_names['payloads_key']}:broken")
    redis_client.delete(f"{key_names['timeline_key']}:broken")
    assert "secret" not in str(raised.value)
    assert set(pending(timers)) == {"a", "c"}


def test_only_the_call_that_was_refused_is_logged(timers, redis_client, key_names, caplog):
    redis_client.set(f"{key_names['payloads_key']}:broken", "no hash")
    with transaction.atomic():
        schedule("a", robust=True)
        schedule_on_commit("first", "broken", activate_in=HOUR, robust=True)
        schedule("c", robust=True)
    redis_client.delete(f"{key_names['payloads_key']}:broken")
    redis_client.delete(f"{key_names['timeline_key']}:broken")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert set(pending(timers)) == {"a", "c"}


def test_it_takes_no_rights_that_timers_do_not_need_anyway():
    user = {"username": "timers", "password": "s3cret"}
    with embedded_server(config={}) as url, redis.Redis.from_url(url) as admin:
        rights = ["on", ">s3cret", "~*", "&*", "+@all", "-multi", "-exec"]
        admin.execute_command("ACL", "SETUSER", "timers", *rights)
        aliases = {"default": {"URL": url, "OPTIONS": user}}
        with override_settings(TIMERS=aliases), transaction.atomic():
            schedule("a")
            schedule("b")
            cancel_on_commit("invoices", "a")
        with override_settings(TIMERS=aliases):
            assert set(pending(get_client())) == {"b"}


# --- where replicas must confirm


@pytest.fixture
def confirming(server_url, key_settings):
    """The default client, which asks for a replica that the server does not have."""
    alias = {"URL": server_url, **key_settings, "CONFIRM_REPLICAS": 1, "CONFIRM_TIMEOUT": 0.05}
    with override_settings(TIMERS={"default": alias}):
        yield get_client()


def test_what_replicas_do_not_confirm_comes_out_of_the_commit(confirming):
    with pytest.raises(TimerNotReplicatedError) as raised, transaction.atomic():  # noqa: PT012  the block's end raises
        schedule("a")
        assert pending(confirming) == {}
    assert (raised.value.timer_id, raised.value.confirmed) == ("a", 0)
    assert set(pending(confirming)) == {"a"}


def test_each_call_of_a_transaction_waits_for_itself(confirming, caplog):
    with transaction.atomic():
        schedule("a", robust=True)
        schedule("b", robust=True)
        cancel_on_commit("invoices", "a", robust=True)
    assert set(pending(confirming)) == {"b"}
    assert [record.exc_info[0] for record in caplog.records] == [TimerNotReplicatedError] * 3


def test_a_server_that_is_away_is_asked_once(key_settings, relay):
    alias = {"URL": relay.url, **key_settings, "CONFIRM_REPLICAS": 1}
    with override_settings(TIMERS={"default": alias}):
        relay.refuse()
        with pytest.raises(redis.ConnectionError) as raised, transaction.atomic():  # noqa: PT012  as above
            schedule("a")
            schedule("b")
        relay.accept()
        assert pending(get_client()) == {}
    assert raised.value.__notes__ == ["on commit: schedule 'a' in topic 'invoices' and 1 more"]


def test_what_comes_after_a_lost_reply_is_not_sent_and_says_so(key_settings, relay, caplog):
    alias = {"URL": relay.url, **key_settings, "CONFIRM_REPLICAS": 1, "CONFIRM_TIMEOUT": 0.05}
    relay.lose_reply("EVALSHA")
    with override_settings(TIMERS={"default": alias}):
        with transaction.atomic():
            schedule("a", robust=True)
            schedule("b", robust=True)
        assert "b" not in pending(get_client())
    first, second = (record.exc_info[1] for record in caplog.records)
    assert isinstance(first, TimerOutcomeUnknownError)
    assert str(second) == f"not sent, because of an earlier call: {first}"


def test_a_fake_client_confirms_all():
    fake = FakeTimersClient(confirm_replicas=1)
    with override_settings(TIMERS={"default": {"CLIENT": lambda: fake}}):
        with transaction.atomic():
            schedule("a")
            schedule("b")
            cancel_on_commit("invoices", "a")
            assert pending(fake) == {}
        assert set(pending(fake)) == {"b"}
