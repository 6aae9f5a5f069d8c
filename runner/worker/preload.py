"""Imports, in a process that waits for a task, the framework that most tasks need.

Ray imports this module in every worker as it starts, where it was told to. One for a task that
needs another framework is told so by a variable, and imports none: that task decides when.
"""

from __future__ import annotations

import os
from importlib import import_module

from runner.kinds import PRELOAD

if os.environ.get(PRELOAD, "torch") == "torch":
    import_module("torch")
