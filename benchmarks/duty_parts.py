"""The rule that keeps a few workers on duty, with each of its parts left out or done otherwise."""

from faststream_redis_timers.delivery.duty import NEVER, Call, ClaimResult, Duty, Post, Roster


class NoCallForMissing(Duty):
    """Calls nobody in place of workers that leave."""

    def call(self, now: float) -> Call:
        """Call for what is left alone."""
        return super().call(now)._replace(least=0, least_if_full=0)


class NoCallForRest(Duty):
    """Calls nobody for timers that it leaves."""

    def call(self, now: float) -> Call:
        """Call for those who are missing alone."""
        return super().call(now)._replace(slots=0)


class NoQuiet(Duty):
    """Calls each time, however lately there was a call."""

    QUIET = 0.0


class Divided(Duty):
    """Calls for its part of what is left, since the others on duty call too."""

    def call(self, now: float) -> Call:
        """Call for less."""
        call = super().call(now)
        return call._replace(slots=call.slots * self._holders)


class NoEvidence(Duty):
    """Thinks nothing of timers that are found in reserve long after they were due."""

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Forget how late they were."""
        super().claimed(look._replace(overdue=0.0), roster, now)


class NoMissing(Duty):
    """Goes on duty after such a find, and yet counts on all that the server counts."""

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Forget who is missing."""
        super().claimed(look, roster, now)
        self._missing = 0


class NoWord(Duty):
    """Tells those whom it calls nothing of who is missing."""

    def call(self, now: float) -> Call:
        """Keep it to itself."""
        return super().call(now)._replace(missing=NEVER.missing)


class ReturnsAlways(NoMissing):
    """In place of that: who left its duty for work comes back to it, whoever is there."""

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Come back."""
        was_on_duty = self.post is Post.ON_DUTY
        super().claimed(look, roster, now)
        if was_on_duty and look.found:
            self._next = Post.ON_DUTY


class NoThinning(Duty):
    """Never leaves because there are too many."""

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Lose no race."""
        super().claimed(look._replace(is_outrun=False), roster, now)


class HastyThinning(Duty):
    """Leaves twice in two races, in place of once in eight."""

    PATIENCE = 2


class NoJoining(Duty):
    """Does not go on duty because a poll shows that too few are."""

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """See enough, but for the first time."""
        if self.post is Post.IN_RESERVE and not look.found:
            roster = roster._replace(on_duty=max(roster.on_duty, self._holders + self._missing))
        super().claimed(look, roster, now)


class NoFarewell(Duty):
    """Calls nobody when it stops."""

    def leaving(self) -> Call:
        """Never call."""
        return NEVER


class NeverAway(Duty):
    """Goes on listening, even while it is full."""

    def _may_stay(self, free: int) -> bool:
        return True


class NoDistrust(Duty):
    """Goes on listening unless it is full, whether or not its handlers keep the event loop."""

    def turned(self, seconds: float, free: int) -> None:
        """Notice nothing."""
        super().turned(0.0, free)

    def _may_stay(self, free: int) -> bool:
        self._to_be_trusted = 0
        return super()._may_stay(free)


class NoTrust(Duty):
    """Leaves for each timer."""

    def _may_stay(self, free: int) -> bool:
        return False


class AwayUntilDone(Duty):
    """Is away until all its handlers have ended, unless it is trusted."""

    def _return(self, free: int) -> None:
        if free == self._slots or self._may_stay(free):
            super()._return(free)


class NoSmall(Duty):
    """Makes no difference for small fleets."""

    SMALL = 0
