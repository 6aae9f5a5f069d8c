"""Several forms of one model: a task that made them has figures of each, after the form's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# The form that a framework keeps a model in, measured beside those that were made of it.
OWN = "keras"
# Figures of other models than a task's own, under names that are no form's.
_NO_FORMS = ("baseline", "tried")


def forms(metrics: Mapping[str, float], shown: Collection[str]) -> dict[str, dict[str, float]]:
    """The figures called ``shown`` of each form: ``litert/test/loss`` as test/loss of litert."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        form, _, figure = name.partition("/")
        if figure in shown and form not in _NO_FORMS:
            found.setdefault(form, {})[figure] = value
    return found
