"""What things may cost, in commands, round trips, connections and claims' worths of memory.

All tests of this folder take their limits from here. A count does not depend on the machine:
where one is exceeded, something has been added that each timer or each second pays for.
"""

# --- draining timers that are due --------------------------------------------------------

DRAIN_BY_HUNDREDS = 0.03
"""Script calls and pings per timer, `max_concurrent=100`. Handlers that end together are
committed together, and the next claim rides along: one call for 100 timers. Three times that
leaves room for starting, for the last claims, and for handlers that do not end all at once."""

DRAIN_BY_DEFAULT = 0.45
"""The same with the default of 5 handlers: one call for 5 timers, and as much again."""

DRAIN_BATCHES = 0.012
"""Script calls and pings per timer where handlers get batches of 100: one call settles a batch and
claims the next one. A fifth more leaves room for starting and for the last claims."""

TASKS_OF_A_BATCH = 1
"""Tasks per batch: that of its handler. None for its timers."""

TASKS_OF_A_WORKER = 30
"""Tasks that a worker begins whatever there is to do: its loop, its stop, and those in which
redis-py connects and sends for the first time. 19 were counted."""

DRAIN_ONE_BY_ONE = 1.0
"""Script calls per timer where no handler ends together with another: its commit, and the
claim that fills its slot is in the same call."""

START = 3
"""Commands that a worker sends whatever there is to do: a ping, a claim, and a second claim
when it has begun to listen for wake-ups."""

LAYOUT = 1
"""EXISTS of a broker when it starts: whether its subscribers' topics have timers in the other
layout of keys. None later, and none of clients that only publish."""

# --- single operations -------------------------------------------------------------------

OPERATION = 1
"""Commands, and round trips, of an operation on one timer, or on up to 200 in a batch. No
command beside the script call: no SELECT, no WATCH, no look before."""

FIRST_OPERATION = 2
"""Commands of the first call of a script on a new server: it is unknown by its name, and is
sent as text. Loading scripts at the start would cost each process that never calls them."""

RECURRING = 2
"""Round trips of scheduling recurring timers, up to 200 in a batch: TIME, and the script call. Only
the server knows its clock, and only Python the next time."""

RESUMED = 3
"""Round trips of resuming a recurring timer: its definition, TIME, and the script call."""

PAGE = 500
"""Timers per call of what reads many: Lua's `unpack` fails at 8,000, and 1,000 take
the server some milliseconds in which nobody else is served."""

CHANGED = 200
"""Timers per call of what changes many: it takes several times as long as reading them."""

ITERATION = 2
"""Calls per page of `iter_timers`: ids in order of due time, and then what they hold. Without
bodies the first is enough."""

ITERATION_GROWTH = 1.2
"""How many times the memory of iterating over 1,000 timers that over 10,000 may take: it is
that of a page, whatever there is. The rest is what the interpreter itself keeps at hand."""

# --- waiting -----------------------------------------------------------------------------

CLAIM_AND_COMMIT = 3
"""Commands that a worker that waits sends for one timer: a ping that warms the connection just
before it is due, the claim, and the commit."""

EARLY_CLAIM = 2
"""What it costs to be early, by less than a round trip takes: another ping and claim."""

HERD = 10 + 10 + 1
"""Script calls of ten idle workers for one timer: each claims when it is due and may have been
a bit early, and one commits. They must not try again because another was faster."""

FLEET = 3 + 3 + 1
"""The same per timer of twelve workers, three of which are on duty."""

IDLE_PER_SECOND = 0.25
"""Commands per second of a subscriber that has nothing to do, on average: a look each 5 s
(0.2), and a ping of the broker's wake-up connection each 30 s (0.03)."""

IDLE_PER_SECOND_BY_TEN = 2.5
"""The same for ten subscribers of one broker, which share that connection."""

MINUTE_AFTER_A_TIMER = 18
"""Polls in the minute after a timer, where no other is known: seven until the pause has grown
from 0.05 s to 5 s, then one each 5 s. They find what is scheduled while wake-ups are lost."""

MINUTE_AFTER_A_TIMER_AT_WORST = 30
"""The same where chance makes each pause as short as it may be."""

# --- connections -------------------------------------------------------------------------

BESIDE_THE_POOL = 1
"""Connections that a broker holds beside those of its client's pool, if it has subscribers, as
many as it likes: that for wake-ups."""

PUBLISHER = 1
"""Connections of a broker that only publishes, one timer after the other."""

# --- bounds ------------------------------------------------------------------------------

CLAIMED_TIMERS = 100
"""Timers in one claim: what is leased to a worker that dies is late by a lease."""

CLAIMED_BYTES = 512 * 1024
"""Bytes of payloads in one claim; one timer that is larger is claimed alone."""

HELD_CLAIMS = 8
"""Claims' worths of bytes that a worker's process holds at once while it drains, with handlers
that return at once: the reply as it is read, its pieces, and what the handler is called with."""

SERVER_HELD_CLAIMS = 8
"""The same for the server: the payload, what the script makes of it, and the reply."""

# --- wake-ups ----------------------------------------------------------------------------

AT_ONCE = 2
"""Script calls of a worker per timer that is scheduled for now while it waits: a claim, and a
commit unless it rides with the next claim. No claim finds nothing: a wake-up that is older than
the last look is ignored."""

IN_A_FLOOD = 0.4
"""The same while they come by the thousand a second: claims keep a gap in which timers gather.
0.03 were measured, and 0.77 without the gap; a slow machine sends fewer into each."""

WAKE_UP = 0
"""Commands of a worker that hears of a timer which is due later: it knows all it needs."""

READ_WHILE_BUSY = 1
"""Wake-ups that are read while all handlers are busy: the one that was waited for before."""

# --- fleets ------------------------------------------------------------------------------

ROSTER = 1
"""How often a claim by the rule for fleets, and a wake-up, count listeners: those on duty and all,
at once."""

PAYLOAD_READS = 8
"""How often a claim of a hundred reads small payloads: 1, 2, 4, 8, 16 and then 25 at a time."""

ALL_GROUPS = 8
"""The same to find that nobody is in reserve, eight groups at a time. To find one takes as a rule
one, in large fleets."""

# --- web pages ---------------------------------------------------------------------------

TOPICS_PAGE = 8
"""Round trips of a page of topics beside those for the topics: who listens, the time, the forecast
of few, and the connection's first."""

TOPICS_PAGE_PER_TOPIC = 1.2
"""The same per topic, 200 of which are on a page: 20 are counted in a call, 5 are forecast in one
(100 at most), and running timers are counted topic by topic."""

TOPICS_PAGE_PER_TOPIC_ALONE = 0.2
"""The same where nobody asks for running timers."""

TOPIC_PAGE = 9
"""Round trips of a page of a topic: its counts, who listens, the time, the forecast and whether it
holds dead letters, 100 timers and which of these are recurring."""

TIMER_PAGE = 2
"""Round trips of a page of a timer: the timer and the time."""

CUT_SEARCH = 5
"""Round trips that a search adds where its time is up at once: two steps, which timers of these
are recurring, and the timer whose whole id was searched for."""
