"""What must hold in every history, whatever happens to workers, network and clocks."""

INVARIANTS = {
    "lost": (
        "No timer that was accepted is lost: it leaves Redis only when a handler of it has "
        "finished, or has rejected it, or has used up its attempts; or when it is cancelled or "
        "replaced."
    ),
    "early": "No timer is claimed before its time, nor while a lease lasts, by the server's clock.",
    "foreign": (
        "Nothing is committed, put off or released but by the worker that holds the timer's lease."
    ),
    "cancelled": "A timer is never claimed after a cancel that returned True.",
    "ended lease": (
        "No handler starts under a lease that was not given, or that has ended: by its worker's "
        "monotonic clock, and by the server's where that clock was not set meanwhile."
    ),
    "as asked": (
        "A timer stands as it was asked for: its payload, and its due time to the microsecond; "
        "so does one that is put off or released."
    ),
    "once": "What was asked for once is carried out once at most.",
    "truth": (
        "Callers are told the truth: what returned was done, what raised was not and never will "
        "be, and TimerOutcomeUnknownError stands for doubt alone."
    ),
    "keys": (
        "All keys of a topic hold the same ids: none is pending without payload, no payload or "
        "attempt outlives its timer."
    ),
    "attempts": (
        "Where attempts are counted, a handler is told which one it is: each claim counts, but "
        "for those that were released and those that renewed a lease of the same worker. There "
        "are no more of them than the retry policy allows, but for one more, alone, of a timer "
        "that has lost its last one in a batch."
    ),
    "recurs": (
        "A recurring timer is due next at the first time after the claim that ran. Where its last "
        "attempt was lost it may be due for the last time that has come since its first one was. "
        "Only who cancels or replaces it ends it. Scheduled again, it stays due as it is where its "
        "definition is the same."
    ),
    "twice": (
        "A sound worker does not run a timer beside itself: what it claims while its handler runs "
        "there is a renewal, unless another worker had it in between."
    ),
    "dead-lettered": "A dead letter is in its topic once, under its timer's id and a suffix.",
    "spared": (
        "Where nothing but timers that kill their workers does harm, each of them takes two "
        "attempts of another timer at most, one where there are but two: it never uses them up "
        "alone. One that is scheduled or moved again counts as another."
    ),
    "renewed": (
        "A lease is never shortened, and no timer whose lease a sound worker renews is claimed by "
        "another."
    ),
    "held after stop": "A worker that stopped in order, on a sound network, leaves nothing leased.",
    "stuck": (
        "Once all faults are over, every timer is delivered or cancelled, within a few leases and "
        "poll delays."
    ),
    "alive": "Nothing but a stop or a crash ends a delivery loop, and no task dies unnoticed.",
}


class Violation(AssertionError):  # noqa: N818  it is named for what it is
    """An invariant does not hold.

    Args:
        name: Which one.
        detail: What was seen.
    """

    def __init__(self, name, detail):
        super().__init__(f"{name}: {detail}\n    {INVARIANTS[name]}")
        self.name = name
