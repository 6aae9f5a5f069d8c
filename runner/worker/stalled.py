"""Where an attempt stands when it has not come on for too long: the stack of every thread."""

from __future__ import annotations

import faulthandler
import os
import sys
import time

# An attempt says something twice a second while it trains; a collective waits no longer than this.
LIMIT_S = 600.0
# Of a time limit, after which the attempt is ended from outside: before that happens.
_PART = 0.9
_AGAIN_S = 1.0


class Stalled:
    """Writes every thread's stack to standard error if nothing comes for ten minutes.

    ``timeout_s`` is the attempt's own limit, if it has one: stacks are written before it is over in
    any case, as they tell what took so long.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._set_at_s = 0.0
        self._last_s = time.monotonic() + _PART * timeout_s if timeout_s else None
        # A copy: standard error may be captured, replaced or closed meanwhile.
        self._file = os.fdopen(os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2), "w")
        self.progressed()

    def progressed(self) -> None:
        """The attempt has come on: the time counts anew."""
        now = time.monotonic()
        if now - self._set_at_s < _AGAIN_S or (self._last_s is not None and now >= self._last_s):
            return
        self._set_at_s = now
        left_s = LIMIT_S if self._last_s is None else min(LIMIT_S, self._last_s - now)
        faulthandler.dump_traceback_later(left_s, file=self._file)

    def over(self) -> None:
        """The attempt has ended."""
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
