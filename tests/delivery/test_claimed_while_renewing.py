"""A worker's own claim overtakes a renewal of the same timer that is on its way."""

from unittest import mock

import pytest

from faststream_redis_timers.delivery.leased import Claim, LeasedTimer
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.model import Claimed

FIRST, EARLIER, LATER = b"130.0000005", b"199.0000015", b"200.0000015"


@pytest.mark.parametrize(
    ("proposed", "claimed", "known"),
    [(LATER, EARLIER, [LATER]), (EARLIER, LATER, [LATER])],
)
def test_the_lease_that_the_server_keeps_is_known_whichever_is_later(proposed, claimed, known):
    holder = mock.Mock()
    holder.propose_lease.return_value = proposed
    timer = Claimed(b"a", b"body", b"100.000000")
    claim = Claim("orders", FIRST, 130.0, 100.0, 100.0, 30.0, mock.Mock(), holder)
    delivery = LeasedTimer(claim, timer, read_envelope(b"body"))
    delivery.renew_soon(30.0)

    delivery.claimed_again(claimed, 199.0)
    assert set(delivery.leases) == {claimed, *known}
    delivery.renewed(proposed, 200.0)

    assert list(delivery.leases) == known
    assert delivery.leases_word == LATER
