"""How the ends of a gang's ranks make the end of its attempt: no clock and no Ray in it.

every rank finished            the attempt is finished
a rank failed by itself        failed, with that rank's error, at once
a rank was lost                lost, at once
a rank failed by the others    as the rank that was the cause, if it is heard of in time:
                               whoever waits for a rank that dies is often told first
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.model import TaskStatus

# How long a rank may be the cause of what another has failed of, before it is heard of itself.
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the attempt ended, and the error of the rank that ended it."""

    status: TaskStatus
    error: Mapping[str, Any] | None
    rank: int = 0


@dataclass(slots=True)
class Ranks:
    """The ranks of one attempt, as far as they have ended."""

    world_size: int
    ended: set[int] = field(default_factory=set)
    echo: tuple[float, Verdict] | None = None
    verdict: Verdict | None = None

    def end(
        self, rank: int, status: TaskStatus, error: Mapping[str, Any] | None, now_s: float
    ) -> Verdict | None:
        """A rank has ended. Returns how the attempt ended, once that is so."""
        if self.verdict is not None or rank in self.ended:
            return self.verdict
        self.ended.add(rank)
        if error is not None and self.world_size > 1:
            error = {**error, "rank": rank}
        if status != "finished" and not (error or {}).get("by_others"):
            self.verdict = Verdict(status, error, rank)
        elif status != "finished" and self.echo is None:
            self.echo = now_s, Verdict(status, error, rank)
        if self.verdict is None and len(self.ended) == self.world_size:
            self.verdict = self.echo[1] if self.echo else Verdict("finished", None)
        return self.verdict

    def wait_over(self, now_s: float) -> Verdict | None:
        """The verdict, if the rank that is to blame has not been heard of for too long."""
        if self.verdict is None and self.echo is not None and now_s - self.echo[0] > GRACE_S:
            self.verdict = self.echo[1]
        return self.verdict
