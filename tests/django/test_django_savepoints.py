"""The calls of one transaction: which are sent, in which order, in how many round trips."""

from contextlib import suppress
from functools import partial

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, override_settings
from django_project.models import Invoice
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from on_commit_calls import RollBack, pending, schedule

from faststream_redis_timers_sync.django import cancel_on_commit, get_client
from faststream_redis_timers_sync.testing import FakeTimersClient

# --- order, savepoints and round trips

make_savepoint = getattr(transaction, "savepoint_create", None) or transaction.savepoint
# Newer versions of Django call it otherwise.


def test_calls_of_one_transaction_keep_their_order_in_one_round_trip(timers, counting):
    with transaction.atomic():
        schedule("a", "first")
        schedule("b")
        cancel_on_commit("invoices", "b")
        with transaction.atomic():
            schedule("a", "second")
        with transaction.atomic(), transaction.atomic(savepoint=False):
            schedule("c")
    assert counting.sent == [["a", "b", "b", "a", "c"]]
    assert pending(timers) == {"a": "second", "c": "first"}


def test_two_transactions_are_two_round_trips(timers, counting):
    for timer_id in ("a", "b"):
        with transaction.atomic():
            schedule(timer_id)
    assert counting.sent == [["a"], ["b"]]


def test_a_savepoint_that_is_rolled_back_takes_its_calls_along(timers, counting):
    with transaction.atomic():
        with suppress(RollBack), transaction.atomic():
            schedule("a")
            with transaction.atomic():
                schedule("b")
            raise RollBack
        schedule("c")
        with suppress(RollBack), transaction.atomic():
            schedule("d")
            raise RollBack
        with transaction.atomic():
            schedule("e")
    assert counting.sent == [["c", "e"]]
    assert set(pending(timers)) == {"c", "e"}


def test_calls_stay_together_where_a_savepoint_is_rolled_back_after_the_last(timers, counting):
    with transaction.atomic():
        schedule("a")
        with transaction.atomic():
            schedule("b")
        with suppress(RollBack), transaction.atomic():
            schedule("c")
            raise RollBack
        with suppress(RollBack), transaction.atomic():
            raise RollBack
    assert counting.sent == [["a", "b"]]
    assert set(pending(timers)) == {"a", "b"}


def test_calls_stay_together_inside_a_savepoint_too(timers, counting):
    with transaction.atomic(), transaction.atomic():
        schedule("a")
        with transaction.atomic(savepoint=False):
            schedule("b")
        with transaction.atomic(savepoint=False):
            schedule("c")
        with suppress(RollBack), transaction.atomic():
            raise RollBack
    assert counting.sent == [["a", "b", "c"]]


def test_a_block_without_a_savepoint_goes_with_the_one_around_it(timers, counting):
    with transaction.atomic():
        with suppress(RollBack), transaction.atomic():
            schedule("a")
            with transaction.atomic(savepoint=False):
                schedule("b")
                raise RollBack
        schedule("c")
    assert counting.sent == [["c"]]


def test_a_savepoint_made_by_hand_takes_no_call_along(timers, counting):
    called = []
    with transaction.atomic():
        schedule("before")
        savepoint = make_savepoint()
        Invoice.objects.create(number="INV-001")
        schedule("inside")
        transaction.on_commit(partial(called.append, "inside"))
        transaction.savepoint_rollback(savepoint)
        schedule("after")
    assert not Invoice.objects.exists()
    # Django's own functions stay too.
    assert called == ["inside"]
    assert sorted(pending(timers)) == ["after", "before", "inside"]
    assert [timer_id for ids in counting.sent for timer_id in ids] == ["before", "inside", "after"]


def test_one_that_is_rolled_back_after_the_last_call_takes_none_along_either(timers, counting):
    with transaction.atomic():
        savepoint = make_savepoint()
        schedule("a")
        with transaction.atomic():
            schedule("b")
        transaction.savepoint_rollback(savepoint)
    assert [timer_id for ids in counting.sent for timer_id in ids] == ["a", "b"]


def test_one_that_is_committed_changes_nothing(timers, counting):
    with transaction.atomic():
        savepoint = make_savepoint()
        schedule("a")
        transaction.savepoint_commit(savepoint)
        schedule("b")
    assert counting.sent == [["a", "b"]]


_BLOCKS = st.recursive(
    st.just("call"),
    lambda inside: st.tuples(st.booleans(), st.booleans(), st.lists(inside, max_size=4)),
    max_leaves=12,
)


@given(blocks=st.lists(_BLOCKS, max_size=5))
@hypothesis_settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_exactly_those_are_sent_whose_own_functions_django_would_call(timers, counting, blocks):
    counting.sent.clear()
    called, rolled_back, made = [], [], 0

    def run(block):
        nonlocal made
        if block == "call":
            made += 1
            schedule(f"{made}")
            transaction.on_commit(partial(called.append, f"{made}"))
            return
        raises, savepoint, inside = block
        with suppress(RollBack), transaction.atomic(savepoint=savepoint):
            for other in inside:
                run(other)
            if raises:
                rolled_back.append(block)
                raise RollBack

    with transaction.atomic():
        for block in blocks:
            run(block)

    assert [timer_id for ids in counting.sent for timer_id in ids] == called
    if called and not rolled_back:
        assert len(counting.sent) == 1


def test_an_integrity_error_inside_takes_nothing_else_along(timers, counting):
    invoice = Invoice.objects.create(number="INV-001")
    with transaction.atomic():
        schedule("a")
        schedule("b")
        with suppress(IntegrityError), transaction.atomic():
            Invoice.objects.create(pk=invoice.pk, number="INV-002")
    assert counting.sent == [["a", "b"]]


def test_other_functions_may_wait_in_between(timers, counting):
    with transaction.atomic():
        schedule("a")
        transaction.on_commit(lambda: schedule("c"))
        schedule("b")
    assert counting.sent == [["a", "b"], ["c"]]


def test_two_databases_commit_apart(timers, counting):
    with suppress(RollBack), transaction.atomic(using="other"):
        with transaction.atomic():
            schedule("a")
            schedule("b", using="other")
            schedule("c", using="default")
        assert set(pending(timers)) == {"a", "c"}
        raise RollBack
    assert counting.sent == [["a", "c"]]


def test_two_aliases_are_two_round_trips(counting, key_settings, server_url):
    aliases = {
        "default": {"CLIENT": lambda: counting, **key_settings},
        "other": {"URL": server_url, "PREFIX": "other:", **key_settings},
    }
    with override_settings(TIMERS=aliases):
        with transaction.atomic():
            schedule("a")
            schedule("b", alias="other")
            schedule("c")
            cancel_on_commit("invoices", "c", alias="other")
        assert counting.sent == [["a", "c"]]
        assert set(pending(get_client())) == {"a", "c"}
        assert set(pending(get_client("other"))) == {"b"}


def test_a_durable_block_commits_as_any_other(timers, counting):
    with transaction.atomic(durable=True):
        schedule("a")
        with transaction.atomic():
            schedule("b")
    assert counting.sent == [["a", "b"]]


def test_without_autocommit_a_block_waits_for_the_commit_by_hand(timers, counting):
    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            schedule("refused")
        with transaction.atomic():
            schedule("a")
            schedule("b")
        assert counting.sent == []
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert counting.sent == [["a", "b"]]


# --- Django's own tests


class TestInTransactions(TestCase):
    """Tests that never commit."""

    databases = ("default", "other")

    @pytest.fixture(autouse=True)
    def _timers(self, timers, counting):
        self.timers, self.counting = timers, counting

    def test_nothing_is_sent_without_a_commit(self):
        schedule("a")
        assert self.counting.sent == []

    def test_each_call_is_captured_and_run_in_order(self):
        schedule("before")
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            schedule("a")
            with transaction.atomic():
                cancel_on_commit("invoices", "a")
            with suppress(RollBack), transaction.atomic():
                schedule("b")
                raise RollBack
            schedule("c")
        assert len(callbacks) == 3
        assert self.counting.sent == [["a"], ["a"], ["c"]]

    def test_each_captured_function_sends_its_own(self):
        with self.captureOnCommitCallbacks() as callbacks:
            schedule("a")
            schedule("b")
        callbacks[1]()
        assert self.counting.sent == [["b"]]

    def test_the_databases_are_captured_apart(self):
        with self.captureOnCommitCallbacks(using="other", execute=True):
            schedule("a")
            schedule("b", using="other")
        assert self.counting.sent == [["b"]]


def test_a_captured_call_is_not_sent_again_by_the_commit(timers, counting):
    with transaction.atomic():
        schedule("a")
        with TestCase.captureOnCommitCallbacks(execute=True):
            schedule("b")
        schedule("c")
    assert counting.sent == [["b"], ["a", "c"]]
    assert connection.run_on_commit == []


# --- a client without Redis


def test_a_client_in_memory_does_as_well():
    fake = FakeTimersClient()
    with override_settings(TIMERS={"default": {"CLIENT": lambda: fake}}):
        assert get_client() is fake
        with transaction.atomic():
            schedule("a")
            with suppress(RollBack), transaction.atomic():
                schedule("b")
                raise RollBack
            schedule("c", "second")
            cancel_on_commit("invoices", "a")
            assert fake.scheduled == []
    assert [timer.message for timer in fake.scheduled] == ["first", "second"]
    assert [timer.timer_id for timer in fake.cancelled] == ["a"]


class TestInMemory(TestCase):
    """Tests that need no server, and never commit."""

    def test_what_is_captured_reaches_the_memory(self):
        fake = FakeTimersClient()
        with override_settings(TIMERS={"default": {"CLIENT": lambda: fake}}):
            with self.captureOnCommitCallbacks(execute=True):
                schedule("a")
                cancel_on_commit("invoices", "a")
                schedule("b")
            schedule("c")
        assert [timer.timer_id for timer in fake.scheduled] == ["a", "b"]
        assert [timer.timer_id for timer in fake.cancelled] == ["a"]
