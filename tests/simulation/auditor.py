"""Looks at each script that the server has carried out, and at what the keys hold after it."""

import json

from simulation.accounts import GRID, Claim, Timer, is_lease
from simulation.ledger import Ledger

from faststream_redis_timers_sync.protocol import operations
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.times import time_of

CHANGING = ("schedule", "reschedule", "cancel", "cancel_all", "redrive", "settle_and_claim")


def settlements_in(words):
    """Give action, id, leases and detail of each settlement, of those in groups too."""
    while words:
        if words[0] == b"commits":
            _, count, leases, *words = words
            for timer_id in words[: int(count)]:
                yield b"commit", timer_id, leases, b""
            words = words[int(count) :]
        else:
            action, timer_id, leases, detail, *words = words
            yield action, timer_id, leases, detail


class Auditor(Ledger):
    """A ledger that sees the server.

    Args:
        *parts: See `Ledger`.
    """

    def __init__(self, *parts):
        super().__init__(*parts)
        names = (*CHANGING, "exists", "count")
        self._scripts = {operations.load_script(name).sha: name for name in names}

    def watch(self, link, request, reply):
        """Look at a script that was carried out."""
        name = self._scripts.get(request.sha)
        # The first argument of what changes timers is a key.
        args = request.args if name in {"exists", "count"} else request.args[1:]
        actor, call = link.actor, link.call
        if name == "settle_and_claim":
            self._worker_step(actor, link.sent_at, args, reply)
        elif name in CHANGING:
            call.executions += 1
            call.reply = reply
            if call.executions > 1:
                self.violated("once", f"{call.what} of {actor} was carried out again")
            if call.told == "refused":
                self.violated("truth", f"{call.what} of {actor} raised before, and now is done")
            getattr(self, f"_{name}")(actor, args, reply)
        elif request.keys[0] != self._keys[0]:
            return
        elif name == "exists" and reply != (args[0].decode() in self.pending):
            self.violated("truth", f"{args[0]} exists: {reply}")
        elif name == "count" and reply != len(self.pending):
            self.violated("truth", f"{reply} timers, {len(self.pending)} are pending")

    def finds_timers(self, request):
        """Return whether this claims, and something is due."""
        if request.name != "EVALSHA" or self._scripts.get(request.sha) != "settle_and_claim":
            return False
        now = self.server.now
        is_claim = request.args[1] != b"0"
        return is_claim and any(timer.score <= now for timer in self.pending.values())

    def _schedule(self, actor, args, reply):
        keeps = args[0] == b"keep"
        scores = self._read()
        if reply[:1] == b"E":
            self.note("refused", "server", actor.call.what)
        for number in range(1, len(args), 3):
            timer_id = args[number].decode()
            version = json.loads(read_envelope(args[number + 1]).body)["version"]
            old = self.pending.get(timer_id)
            waits = old is not None and not is_lease(old.score)
            if reply[:1] == b"E" or (keeps and waits):
                continue
            if args[number + 2][:1] == b"u":
                self._update(timer_id, version, args[number + 2][1:], scores)
                continue
            timer = Timer(timer_id, version, self.asked[version](self.server.now))
            self._accept(timer, scores, "replaced")
        self._compare(scores)

    def _update(self, timer_id, version, first, scores):
        """Look at a recurring timer that was scheduled."""
        repeat = self.repeats[version]
        due = max(float(first[1:]), self.server.now)
        if repeat.after(time_of(float(first[1:]) - GRID)) != time_of(float(first[1:])):
            self.violated("recurs", f"{timer_id}/{version} is first due at {first}, not {repeat}")
        old, score = self.pending.get(timer_id), scores.get(timer_id)
        if old is None:
            self._accept(Timer(timer_id, version, due, repeat), scores, "replaced")
            return
        self.counts["updated"] += 1
        counted, _ = old.attempts(self.is_sound)
        is_retry = not is_lease(old.score) and old.score > self.server.now and score == old.score
        if old.repeat == repeat:
            stays = True
        elif old.score <= self.server.now:
            stays, due = False, self.server.now
        else:
            # A failed attempt that waits for the next one; claims may be attempts or not.
            recurs = old.repeat is not None
            stays = recurs and is_retry and bool(old.claims)
            may_move = not recurs or is_lease(old.score)
            if counted and self._policy and not may_move and not stays:
                self.violated("recurs", f"{old} waited for its next attempt, and does not any more")
        if not stays:
            self._accept(Timer(timer_id, version, due, repeat), scores, "replaced")
            return
        if score != old.score:
            self.violated("recurs", f"{old} is due at {score}, and was at {old.score}: no change")
        old.version, old.repeat = version, repeat
        self.note("updated", "server", old, repeat)

    def _reschedule(self, actor, args, reply):
        timer_id = args[0].decode()
        scores = self._read()
        old = self.pending.get(timer_id)
        if (reply == b"1") != (old is not None):
            self.violated("truth", f"moving {timer_id}: {reply}, known as {old}")
        if old is not None:
            kind, seconds = args[1][:1], float(args[1][1:])
            due = self.server.now + seconds if kind == b"+" else max(self.server.now, seconds)
            self._accept(Timer(timer_id, old.version, due, old.repeat), scores, "moved")
        self._compare(scores)

    def _cancel(self, actor, args, reply):
        scores = self._read()
        for number, encoded in enumerate(args):
            timer = self.pending.pop(encoded.decode(), None)
            said = reply[number : number + 1]
            expected = b"0" if timer is None else b"r" if is_lease(timer.score) else b"w"
            if said != expected:
                self.violated("truth", f"cancelling {timer}: {said}, not {expected}")
            if timer is not None:
                self._record_end(timer, "cancelled" if said == b"w" else "cancelled while running")
        self._compare(scores)

    def _cancel_all(self, actor, args, reply):
        scores = self._read()
        if reply != len(self.pending):
            self.violated("truth", f"cancelled {reply} of {len(self.pending)}")
        for timer in self.pending.values():
            self._record_end(
                timer, "cancelled" if not is_lease(timer.score) else "cancelled while running"
            )
        self.pending.clear()
        self._compare(scores)

    def _worker_step(self, actor, sent_at, args, reply):
        settled = [
            (action, timer_id.decode(), [*map(float, leases.split())], detail)
            for action, timer_id, leases, detail in settlements_in(args[7:])
        ]
        if not settled and b" - 0\n" in reply:
            return
        scores = self._read()
        has_dead_letters = any(item[0] in {b"dead", b"repeat"} for item in settled)
        dead_letters = self._read_dead_letters() if has_dead_letters else {}
        asked_of = {}
        for item in settled:
            asked_of.setdefault(item[1], []).append(item)
        for timer_id, timer in list(self.pending.items()):
            score = scores.get(timer_id)
            asked = asked_of.get(timer_id, ())
            # A settlement does nothing to a timer that has another score meanwhile.
            mine = [(action, detail) for action, _, leases, detail in asked
                    if timer.score in leases]  # fmt: skip
            if score == timer.score:
                if timer.holder is actor:
                    self._note_released(actor, timer, mine)
            elif score is None:
                self._remove(actor, timer, dead_letters)
            else:
                self._change(actor, sent_at, timer, score, asked, mine, dead_letters)
        for timer_id in sorted(scores.keys() - self.pending.keys()):
            last = self._last.get(timer_id)
            name = "cancelled" if last is not None and last.end == "cancelled" else "once"
            self.violated(name, f"{actor} claims or revives {last}, which was {last and last.end}")
        self._compare(scores)

    def _change(self, actor, sent_at, timer, score, asked, mine, dead_letters):  # noqa: PLR0913, PLR0917  all of it
        """Look at a timer that has got another score."""
        repeated = [detail for action, detail in mine if action == b"repeat"]
        if repeated:
            timer = self._repeat(actor, timer, repeated[0], mine, dead_letters)
            if score != timer.score:
                # It was due at once.
                self._claim(actor, sent_at, timer, score, ())
        elif self._asks_for(b"renew", score, asked):
            self._renew(actor, timer, score, mine)
        elif self._asks_for(b"release", score, asked):
            # That may be a lease that had ended, and has not where the clock was set back.
            self._put_off(actor, timer, score, mine)
        elif is_lease(score) and score > self.server.now:
            self._claim(actor, sent_at, timer, score, mine)
        else:
            self._put_off(actor, timer, score, mine)

    @staticmethod
    def _asks_for(action, score, asked):
        return any(item[0] == action and float(item[3]) == score for item in asked)

    def _note_released(self, actor, timer, mine):
        actions = {action for action, _ in mine}
        for claim in timer.claims:
            if claim.actor is actor and claim.renews:
                # A claim that renewed a lease is not an attempt.
                claim.released |= b"recount" in actions
        own = [claim for claim in timer.claims if claim.actor is actor and not claim.renews]
        if own and b"release" in actions:
            own[-1].released = True
        if own and own[-1].attempt and (b"recount", b"%d" % (own[-1].attempt - 1)) in mine:
            # Its batch has left no time to try it alone.
            own[-1].released = True

    def _check_holder(self, actor, timer, does):
        # If a later holder released it, it has the score again that was this worker's lease.
        is_own = (actor, timer.score) in timer.leases
        if timer.holder is not actor and not (timer.holder is None and is_own):
            self.violated("foreign", f"{actor} {does} {timer}, which {timer.holder} has leased")

    def _new_dead_letters(self, timer, dead_letters):
        versions = {timer.version, *(claim.version for claim in timer.claims)}
        new = [
            key
            for key in dead_letters.keys() - self.dead.keys()
            if dead_letters[key] in versions and key.rpartition(":")[0] == timer.timer_id
        ]
        if len(new) > 1:
            self.violated("dead-lettered", f"{timer} was dead-lettered as {new}")
        return new

    def _repeat(self, actor, timer, detail, mine, dead_letters):
        """Look at a recurring timer that is due next; give it."""
        self._check_holder(actor, timer, "repeats")
        self._note_released(actor, timer, mine)
        self.counts["repeated"] += 1
        new = self._new_dead_letters(timer, dead_letters)
        if bool(new) is not (b" " in detail):
            self.violated(
                "dead-lettered", f"{actor} gives {timer} up, which is dead-lettered as {new}"
            )
        is_given_up = actor not in timer.done_by or bool(new)
        due = float(detail.partition(b" ")[0])
        moments = [claim.at for claim in timer.claims if claim.actor is actor and not claim.renews]
        times = [time_of(moment + error) for moment in moments for error in (-GRID, 0, GRID)]
        expected = set()
        if timer.repeat:
            expected = {timer.repeat.after(time).timestamp() for time in times}
        if timer.repeat and is_given_up and is_lease(timer.earlier[-1]):
            # When the last attempt was claimed is no longer known: what has come since the first
            # one was due may have had no run, and is due.
            passed = {timer.repeat.at_or_before(time) for time in times} - {None}
            expected |= {
                time.timestamp() for time in passed if time.timestamp() > min(timer.earlier)
            }
        if due not in expected:
            told = f"{actor} lets {timer} be due at {due}, not {sorted(expected)}"
            self.violated("recurs", told)
        self._record_end(timer, f"repeated by {actor}")
        if new:
            # It is redriven under its own id, once.
            self.counts["dead-lettered"] += 1
            self.dead[new[0]] = Timer(new[0], dead_letters[new[0]], due)
        if is_given_up:
            self._check_end(actor, timer, "repeated")
        else:
            self.handled_at[timer.timer_id] = self._clock.time()
        following = Timer(timer.timer_id, timer.version, due, timer.repeat)
        self.pending[timer.timer_id] = following
        self.note("repeated", actor, following, due)
        return following

    def _remove(self, actor, timer, dead_letters):
        self._check_holder(actor, timer, "commits")
        new = self._new_dead_letters(timer, dead_letters)
        if timer.repeat is not None:
            self.violated("recurs", f"{actor} ends {timer}, which has further times")
        end = "dead-lettered" if new else "committed"
        self.counts[end] += 1
        is_given_up = actor not in timer.done_by or bool(new)
        if self.spares_good_ones and timer.version in self.good:
            self._check_losses(timer, is_given_up=is_given_up)
        del self.pending[timer.timer_id]
        self._record_end(timer, f"{end} by {actor}")
        if new:
            self.dead[new[0]] = timer
        if is_given_up:
            self._check_end(actor, timer, end)

    def _check_end(self, actor, timer, end):
        """Look at a timer that has not been handled, and goes all the same."""
        if actor in timer.rejected_by:
            return
        if self._policy is None:
            self.violated("lost", f"{timer} is {end} by {actor}, no handler of it has finished")
            return
        _, most = timer.attempts(self.is_sound)
        if most < self._policy.max_attempts:
            self.violated("lost", f"{timer} is {end} by {actor} after {most} attempts")

    def _renew(self, actor, timer, score, mine):
        self.counts["renewed"] += 1
        self._check_holder(actor, timer, "renews")
        self._note_released(actor, timer, mine)
        if score < timer.score:
            self.violated("renewed", f"{actor} shortens the lease of {timer}")
        self.note("renewed", actor, timer, score)
        timer.score, timer.holder = score, actor
        timer.leases.add((actor, score))

    def _claim(self, actor, sent_at, timer, score, mine):
        self.counts["claimed"] += 1
        now = self.server.now
        self._note_released(actor, timer, mine)
        due = self._due_between(timer, mine)
        if due > now + GRID:
            self.violated("early", f"{actor} claims {timer}, {due - now} s before its time")
        holder = timer.holder
        is_renewed = self._options.get("renew_lease") and not self.clock_sets
        if is_renewed and holder in timer.run_by and self.is_sound(holder):
            self.violated("renewed", f"{actor} claims {timer}, which {holder} runs and renews")
        self.note("claimed", actor, timer, score)
        timer.earlier.append(due)
        timer.score, timer.holder = score, actor
        timer.leases.add((actor, score))
        renews = actor in timer.run_by
        claim = Claim(actor, timer, sent_at, now, score, self.clock_sets, renews=renews)
        timer.claims.append(claim)
        self._claims[actor, timer.timer_id, score] = claim

    def _due_between(self, timer, mine):
        """Give the score between settling and claiming, which one call does: nobody ever sees it.

        What was put off without delay, or released when it was due, may be claimed at once.
        """
        for action, detail in mine:
            if action == b"release":
                return float(detail)
            if action == b"nack" and detail:
                return self.server.now + float(detail)
        return timer.score

    def _put_off(self, actor, timer, score, mine):
        self._check_holder(actor, timer, "puts off")
        self._note_released(actor, timer, mine)
        wait = score - self.server.now
        # Released, it is due as before: before which claim depends on renewals.
        expected = [*timer.earlier, timer.score]
        expected += [self.server.now + delay for delay in timer.asked_delays]
        if not any(abs(score - time) <= GRID for time in expected) and not self._is_retry(wait):
            self.violated("as asked", f"{actor} puts {timer} off until {score}, not {expected}")
        self.note("put off", actor, timer, score)
        timer.score, timer.holder = score, None

    def _is_retry(self, wait):
        if self._policy is None:
            return False
        for attempt in range(1, self._policy.max_attempts):
            delay = self._policy.delay.total_seconds() * self._policy.factor ** (attempt - 1)
            if abs(wait - delay) <= delay * self._policy.jitter + GRID:
                return True
        return False

    def _redrive(self, actor, args, reply):
        scores, dead_letters = self._read(), self._read_dead_letters()
        moved = [key for key in self.dead if key not in dead_letters]
        if reply.count(b"1") != len(moved):
            self.violated("truth", f"{reply} dead letters were redriven, {moved} are gone")
        for key in moved:
            timer = self.dead.pop(key)
            old = self.pending.get(timer.timer_id)
            if old is not None and (not is_lease(old.score) or old.repeat):
                self.violated("lost", f"{timer} takes the place of {old}, which waits")
            again = Timer(timer.timer_id, timer.version, self.server.now)
            self._accept(again, scores, "replaced")
        self._compare(scores)

    def _accept(self, timer, scores, end):
        self.counts["accepted"] += 1
        old = self.pending.get(timer.timer_id)
        if old is not None:
            self._record_end(old, end)
        score = scores.get(timer.timer_id)
        if score is None or abs(score - timer.due) > GRID or is_lease(score):
            self.violated("as asked", f"{timer} is due at {score}, asked for was {timer.due}")
        else:
            timer.score = timer.due = score
        self.pending[timer.timer_id] = timer
        self.note("accepted", "server", timer, timer.due)

    def _record_end(self, timer, end):
        if end.startswith("cancelled"):
            self.counts["cancelled"] += 1
        timer.end = end
        self._last[timer.timer_id] = timer
        self.note("gone", "server", timer, end)
