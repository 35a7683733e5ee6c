"""Where the connection of a call can be cut."""

from dataclasses import dataclass

from relay import Relay


@dataclass
class Cut:
    """Cuts the connection of a call.

    Args:
        relay: The relay before the server.
        place: Where: one of `PLACES`.
    """

    relay: Relay
    place: str

    PLACES = ("before the reply", "in the reply", "in the request")

    @property
    def executes(self) -> bool:
        """Whether the server executes the call."""
        return self.place != "in the request"

    def __call__(self, word: bytes | None = None, times: int = 1) -> None:
        """Cut the next script calls.

        Args:
            word: Only calls that have this argument.
            times: How many of them.
        """
        if self.executes:
            kept = 0 if self.place == "before the reply" else 2
            self.relay.lose_reply(word=word, kept=kept, times=times)
        else:
            self.relay.lose_request(word=word, times=times)
