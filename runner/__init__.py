"""runner: one YAML file says what should happen to a model.

    import runner

    run = runner.submit("jobs/distill.yaml")
    run.wait()
    run.metrics["student"]["test/accuracy"]

The command line does the same; see ``runner --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.runs.interface import Run, find, submit

__all__ = ["Run", "find", "submit"]


def __getattr__(name: str) -> object:
    # Imported on use: every module of the package imports this one, and most need neither.
    if name in __all__:
        from runner.runs import interface

        return getattr(interface, name)
    raise AttributeError(f"module 'runner' has no attribute '{name}'")
