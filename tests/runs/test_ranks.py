"""How the ends of ranks make the end of an attempt."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from runner.runs.ranks import GRACE_S, Ranks

OWN: dict[str, Any] = {"type": "ValueError", "message": "mine"}
ECHO: dict[str, Any] = {"type": "RuntimeError", "message": "peer closed", "by_others": True}
LOST: dict[str, Any] = {"type": "Lost", "message": "killed"}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_finished_when_all_are(order: tuple[int, ...]) -> None:
    ranks = Ranks(3)
    verdicts = [ranks.end(rank, "finished", None, 0.0) for rank in order]
    assert verdicts[:2] == [None, None]
    assert verdicts[2] is not None and verdicts[2].status == "finished"


@pytest.mark.parametrize(("status", "error"), [("failed", OWN), ("lost", LOST)])
def test_the_cause_counts_and_not_who_was_told_first(status: Any, error: dict[str, Any]) -> None:
    ranks = Ranks(3)
    assert ranks.end(0, "failed", ECHO, 0.0) is None
    assert ranks.wait_over(GRACE_S - 0.1) is None
    verdict = ranks.end(2, status, error, 1.0)
    assert verdict is not None and (verdict.status, verdict.rank) == (status, 2)
    assert verdict.error == {**error, "rank": 2}
    assert ranks.end(1, "failed", OWN, 2.0) is verdict


def test_nobody_to_blame_is_waited_for_only_so_long() -> None:
    ranks = Ranks(2)
    assert ranks.end(1, "failed", ECHO, 10.0) is None
    assert ranks.wait_over(10.0 + GRACE_S) is None
    verdict = ranks.wait_over(10.1 + GRACE_S)
    assert verdict is not None and (verdict.status, verdict.rank) == ("failed", 1)


def test_all_failed_by_others_ends_it_at_once() -> None:
    ranks = Ranks(2)
    assert ranks.end(1, "failed", ECHO, 0.0) is None
    verdict = ranks.end(0, "failed", ECHO, 0.1)
    assert verdict is not None and verdict.rank == 1


def test_a_rank_that_is_lost_after_others_finished() -> None:
    ranks = Ranks(2)
    assert ranks.end(1, "finished", None, 0.0) is None
    verdict = ranks.end(0, "lost", LOST, 0.1)
    assert verdict is not None and verdict.status == "lost"


def test_one_rank_is_told_as_before() -> None:
    verdict = Ranks(1).end(0, "failed", OWN, 0.0)
    assert verdict is not None and verdict.error == OWN


def test_an_end_is_heard_once() -> None:
    """A stream that ends after its last record is no second end."""
    ranks = Ranks(2)
    assert ranks.end(0, "finished", None, 0.0) is None
    assert ranks.end(0, "lost", LOST, 0.0) is None
