"""What the ledger keeps account of: calls, timers, claims."""

GRID = 1.5e-6
"""Seconds by which two times may differ that were rounded to microseconds."""


class Call:
    """Something that a caller asks for.

    Args:
        what: For the history.
    """

    def __init__(self, what):
        self.what = what
        self.executions = 0
        self.reply = None
        self.told = None


class Timer:
    """A timer as it was accepted: scheduled or moved, it is another one.

    So is each occurrence of a recurring one.

    Args:
        timer_id: Its id.
        version: Tells its payload from all others.
        due: When it is due, by the server's clock.
        repeat: When it is due again and again; None where it is due once.
    """

    def __init__(self, timer_id, version, due, repeat=None):
        self.timer_id = timer_id
        self.version = version
        self.due = due
        self.repeat = repeat
        self.score = due
        self.earlier = []
        self.holder = None
        self.leases = set()
        self.done_by = set()
        self.rejected_by = set()
        self.run_by = {}
        self.asked_delays = []
        self.claims = []
        self.end = None

    def __repr__(self):
        return f"{self.timer_id}/{self.version}"

    def attempts(self, is_sound):
        """Count the claims that are attempts, released ones and renewals left out.

        Args:
            is_sound: Returns whether nothing has ever befallen an actor. Where something
                has, a claim may count that would not otherwise.
        """
        kept = [claim for claim in self.claims if not claim.released]
        least = sum(claim.attempt is not None for claim in kept)
        most = sum(
            claim.attempt is not None or not (claim.renews and is_sound(claim.actor))
            for claim in kept
        )
        return least, most


class Claim:
    """A lease that a worker was given.

    Args:
        actor: The worker.
        timer: Of which timer.
        sent_at: When the worker asked for it.
        at: When it was given, by the server's clock.
        lease: The lease.
        clock_sets: How often the server's clock had been set by then.
        renews: Whether a handler of this worker was running for the timer.
    """

    def __init__(self, actor, timer, sent_at, at, lease, clock_sets, *, renews):  # noqa: PLR0913  all of it
        self.actor = actor
        self.timer = timer
        # The payload of a recurring timer may be another one by the time its handler begins.
        self.version = timer.version
        self.sent_at = sent_at
        self.at = at
        self.lease = lease
        self.clock_sets = clock_sets
        self.renews = renews
        self.attempt = None
        self.released = False


def is_lease(score):
    """Tell the end of a lease, on a half microsecond, from a due time."""
    fraction = (score - int(score)) * 1e6
    return 0.25 < fraction - int(fraction) < 0.75
