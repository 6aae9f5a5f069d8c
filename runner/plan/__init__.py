"""Job + Inventory → Plan: order, placement and batch arithmetic; or why not. Pure."""

from runner.plan.parallelism import usable_counts
from runner.plan.place import place

__all__ = ["place", "usable_counts"]
