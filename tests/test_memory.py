"""Timers in memory against the Lua scripts: the same history has the same answers.

fakeredis runs the scripts, and both see the time that freezegun sets.
"""

import random

import fakeredis
import pytest
from freezegun import freeze_time
from operation_histories import START, History

from faststream_redis_timers_sync import TimersError
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.model import Step


class ScriptsAndMemory(History):
    """The two who must agree."""

    def __init__(self, clock):
        super().__init__(clock)
        self.scripts = Runner(fakeredis.FakeRedis())
        self.memory = TimersMemory()

    def ask(self, operation):
        """Ask both, and give the answer of the memory."""
        answers = [answer_of(runner, operation) for runner in (self.scripts, self.memory)]
        assert comparable(answers[0]) == comparable(answers[1]), operation.name
        return answers[1]


def answer_of(runner, operation):
    try:
        return runner.run(operation)
    except (TimersError, ValueError) as error:
        return str(error)


def comparable(answer):
    """Make numbers of scores: a server writes all digits of its double."""
    if isinstance(answer, Step):
        claimed = [
            one._replace(
                previous_score=float(one.previous_score),
                first_due=one.first_due and float(one.first_due),
            )
            for one in answer.claimed
        ]
        return answer._replace(claimed=claimed)
    if isinstance(answer, list) and answer and isinstance(answer[0], tuple):
        return [entry and (float(entry[0]), entry[1]) for entry in answer]
    if isinstance(answer, tuple) and answer and isinstance(answer[-1], list):
        first, entries = answer
        if entries and isinstance(entries[0], tuple):
            return first, [(one, float(score), whole) for one, score, whole in entries]
    return answer


@pytest.mark.parametrize("seed", range(6))
def test_the_same_history_has_the_same_answers(seed):
    """Long histories of few timers: timers are claimed again, and settled too late."""
    with freeze_time(START) as clock:
        ScriptsAndMemory(clock).go_on(random.Random(seed), 400)
