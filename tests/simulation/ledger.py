"""Keeps account of every timer beside the server, and finds what must not be.

It knows what was asked for, and is told by handlers when they start and end. What the server
does is looked at in `auditor.py`. It computes nothing the way the scripts do, and takes none
of their answers for true.
"""

import json
from collections import Counter

from simulation.accounts import Call
from simulation.invariants import Violation

from faststream_redis_timers_sync.protocol.envelope import read_envelope


class Ledger:
    """The account of one topic and of its dead letters.

    Args:
        clock: Tells the time.
        names: Names of the keys, as the broker takes them.
        topic: The topic.
        options: Options of its subscribers.
    """

    def __init__(self, clock, names, topic, options):
        self._clock = clock
        self._options = options
        self._lease_ttl = options["lease_ttl"]
        self._policy = options.get("retry_policy")
        names = [names[f"{what}_key"] for what in ("timeline", "payloads", "attempts")]
        self._keys = [f"{name}:{topic}".encode() for name in names]
        self._dead_keys = [f"{name}:{topic}:dead".encode() for name in names]
        self.server = None
        self.is_sound = None
        self._notes = []
        self.on_violation = None
        self.is_closed = False
        self.clock_sets = 0
        self.calls = []
        self.asked = {}
        self.repeats = {}
        self.pending = {}
        self.dead = {}
        # Set where nothing but timers that kill their workers does harm.
        self.spares_good_ones = False
        self.good = set()
        # When recurring timers were last handled, by their ids.
        self.handled_at = {}
        self._last = {}
        self._claims = {}
        self._killers = {}
        self.counts = dict.fromkeys(
            (
                *("accepted", "claimed", "started", "committed", "cancelled", "dead-lettered"),
                *("renewed", "repeated", "updated"),
            ),
            0,
        )

    # --- what is noted

    def note(self, event, actor, *details):
        """Write a line of the history."""
        if self.is_closed:
            return
        self._notes.append((self._clock.time(), actor, event, details))

    @property
    def history(self):
        """All that was noted: when, of whom, what, and more about it."""
        return [
            (round(moment, 6), str(actor), event, *map(str, details))
            for moment, actor, event, details in self._notes
        ]

    def violated(self, name, detail):
        """Tell that an invariant does not hold."""
        if self.is_closed:
            return
        self.note("VIOLATED", "", name, detail)
        self.on_violation(Violation(name, detail))

    def begin(self, actor, what, asked=None):
        """Note that a caller asks for something.

        Args:
            actor: The caller.
            what: For the history.
            asked: By version, when a timer is to be due: a function of the server's time.
        """
        self.asked.update(asked or {})
        actor.call = call = Call(what)
        self.calls.append(call)
        self.note("asks", actor, what)
        return call

    def note_reply(self, actor, call, told, result=None):
        """Note what a caller was told: "done", "unknown" or "refused"."""
        call.told = told
        self.note("is told", actor, call.what, told, result)
        least = 0 if call.what.startswith("redrive") else 1
        if told == "done" and not least <= call.executions <= 1:
            self.violated("truth", f"{call.what} returned, and was done {call.executions} times")
        if told == "refused" and call.executions:
            self.violated("truth", f"{call.what} raised, and was done")
        if isinstance(result, bool) and result is not (call.reply in {b"1", b"w"}):
            self.violated("truth", f"{call.what} returned {result}, the server said {call.reply}")

    # --- what handlers tell

    def started(self, actor, delivery, version):
        """Note that a handler starts; give what it was claimed as."""
        self.counts["started"] += 1
        # One of a batch that has failed is begun again, when its lease may have been renewed.
        is_extended = delivery.leases != (delivery.claim.lease,)
        timer_id, lease = delivery.timer_id, float(delivery.claim.lease)
        self.note("handler starts", actor, f"{timer_id}/{version}", lease, delivery.attempt)
        claim = self._claims.get((actor, timer_id, lease))
        if claim is None:
            self.violated("ended lease", f"{actor} starts {timer_id} under {lease}: never given")
            return None
        timer = claim.timer
        if claim.version != version:
            told = f"{timer_id}/{claim.version}"
            self.violated("as asked", f"{told} was claimed, {version} is handled")
        now = self._clock.time()
        if not is_extended and now >= claim.sent_at + self._lease_ttl:
            self.violated("ended lease", f"{actor} starts {timer} {now - claim.sent_at} s on")
        ends_at = max(map(float, delivery.leases)) if is_extended else claim.lease
        if self.clock_sets == claim.clock_sets and self.server.now >= ends_at:
            self.violated("ended lease", f"{actor} starts {timer} after {ends_at}")
        number = timer.claims.index(claim)
        is_own = number == 0 or timer.claims[number - 1].actor is actor
        if actor in timer.run_by and is_own and self.is_sound(actor):
            self.violated("twice", f"{actor} starts {timer}, which it runs")
        timer.run_by[actor] = delivery.attempt
        claim.attempt = delivery.attempt or 0
        if delivery.attempt is not None:
            self._check_attempt(actor, timer, claim, delivery.attempt)
        return timer

    def _check_attempt(self, actor, timer, claim, attempt):
        if timer.claims[-1] is claim:
            least, most = timer.attempts(self.is_sound)
            if not least <= attempt <= most:
                told = f"attempt {attempt} of {timer}, it is {least} to {most}"
                self.violated("attempts", f"{actor} starts {told}")
        if self._policy is not None:
            # The last one may have been lost for another timer of its batch.
            allowed = self._policy.max_attempts + bool(self._options.get("batch"))
            if attempt > allowed:
                told = f"attempt {attempt} of {timer}, {allowed} are allowed"
                self.violated("attempts", f"{actor} starts {told}")

    def ended(self, actor, timer, outcome):
        """Note how a handler has ended: "done", "rejected", "failed", or a delay in seconds."""
        self.note("handler ends", actor, timer, outcome)
        if timer is None:
            return
        timer.run_by.pop(actor, None)
        if outcome == "done":
            timer.done_by.add(actor)
        elif outcome == "rejected":
            timer.rejected_by.add(actor)
        elif outcome != "failed":
            timer.asked_delays.append(outcome)

    def kills(self, timer, actor):
        """Note that a timer is about to kill its worker."""
        self._killers[actor] = timer

    def _check_losses(self, timer, *, is_given_up):
        """Look at the attempts that timers which kill their workers took of a good one."""
        actors = {claim.actor: None for claim in timer.claims if not claim.released}
        taken = Counter(self._killers[actor] for actor in actors if actor in self._killers)
        # After two losses both are suspected, and no longer run side by side. Of two attempts
        # one must be left, so there it is from the first loss on; and in batches too.
        most = min(1 if self._options.get("batch") else 2, self._policy.max_attempts - 1)
        if max(taken.values(), default=0) > most:
            self.violated("spared", f"of {timer} attempts were taken: {dict(taken)}")
        elif is_given_up and most * len(taken) < self._policy.max_attempts:
            self.violated("spared", f"{timer} has used up its attempts beside {dict(taken)}")

    def stopped(self, actor, *, sound):
        """Note that a worker has stopped in order."""
        self.note("has stopped", actor, "" if sound else "(disturbed)")
        leased = [
            t for t in self.pending.values() if t.holder is actor and t.score > self.server.now
        ]
        if sound and leased:
            self.violated("held after stop", f"{actor} still has leases of {leased}")

    # --- the keys

    def _read(self):
        server = self.server
        timeline, payloads, attempts = self._keys
        found = server.read_set(timeline)
        bodies = set(server.read_fields(payloads))
        if found.keys() != bodies:
            self.violated("keys", f"in one alone: {sorted(found.keys() ^ bodies)}")
        if self._options.get("retry_policy") or self._options.get("dead_letter_topic"):
            counted = set(server.read_fields(attempts))
            if not counted <= found.keys():
                self.violated("keys", f"attempts of {sorted(counted - found.keys())} are left")
        return {timer_id.decode(): score for timer_id, score in found.items()}

    def _read_dead_letters(self):
        """Give the version of each dead letter."""
        timeline, payloads, _ = self._dead_keys
        ids = {timer_id.decode() for timer_id in self.server.read_set(timeline)}
        dead_letters = {
            timer_id.decode(): json.loads(read_envelope(payload).body)["version"]
            for timer_id, payload in self.server.read_hash(payloads).items()
        }
        if ids != dead_letters.keys():
            self.violated("keys", f"in one alone: {sorted(ids ^ dead_letters.keys())}")
        return dead_letters

    def _compare(self, scores):
        if scores == {timer_id: timer.score for timer_id, timer in self.pending.items()}:
            return
        for timer_id, timer in self.pending.items():
            if scores.get(timer_id) != timer.score:
                self.violated(
                    "lost", f"{timer} is due at {scores.get(timer_id)}, not {timer.score}"
                )
        if len(scores) != len(self.pending):
            self.violated("once", f"nobody knows {sorted(scores.keys() - self.pending.keys())}")

    def close(self):
        """Look at what is left when all has come to an end."""
        for call in self.calls:
            if call.told == "refused" and call.executions:
                self.violated("truth", f"{call.what} raised, and was done")
        if self.pending or self.dead:
            self.violated("stuck", f"still pending: {[*self.pending.values(), *self.dead]}")
        if keys := self.server.read_keys():
            self.violated("keys", f"left at the end: {[*keys]}")
