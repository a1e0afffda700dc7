"""What a contestant is asked to do."""

from __future__ import annotations

from typing import Any


class Unavailable(Exception):
    """This machine cannot do the work; the text says what is missing."""


class Work:
    """One piece of work, prepared by the constructor and done by :meth:`run` as often as asked.

    A sub-class takes the contestant's side (``"gcseg"`` or ``"peer"``) and its options as keyword arguments, and raises
    :class:`Unavailable` where the machine cannot do it.
    """

    #: ``"cuda"`` makes the clock wait for the GPU and takes the memory from its allocator.
    device: str = "cpu"
    #: How many things one repetition does; what is reported is the time of one.
    items: int = 1
    #: Whether memory is what a repetition takes and gives back, and not all that the work makes the process hold.
    temporaries: bool = False

    def before(self) -> None:
        """Prepare one repetition; neither timed nor counted as memory."""

    def run(self) -> float | None:
        """Do the work. A number that is returned replaces the measured seconds."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Do once what only happens once: by default the whole work."""
        self.before()
        self.run()

    def answer(self) -> dict[str, Any]:
        """Arrays by name that show what was computed, for comparison with the other contestants."""
        return {}

    def figures(self) -> dict[str, float]:
        """Numbers that belong to the result, such as ``flop``, the operations of one repetition."""
        return {}
