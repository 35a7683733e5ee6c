"""How tests talk to a version of the library that is a process of its own."""

import json
from pathlib import Path

from waiting import wait_until

HERE = Path(__file__).parent
PROGRAM = HERE / "peer_program.py"
(WHEEL,) = HERE.glob("*.whl")
VERSION = WHEEL.name.split("-")[1]


class PeerError(Exception):
    """A peer's call has raised."""


class Peer:
    """A version as a process; each method of `peer_program.Peer` is one of this."""

    def __init__(self, process):
        self.process = process

    def __getattr__(self, name):
        def call(*args, **options):
            self.process.stdin.write(json.dumps([name, args, options]) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline())
            if "error" in reply:
                raise PeerError(reply["error"])
            return reply["result"]

        return call

    def wait_for(self, topic, count):
        """Wait until its handlers were called so often; give what they were called with."""
        wait_until(lambda: len(self.seen(topic)) >= count, timeout=30.0)
        return self.seen(topic)
