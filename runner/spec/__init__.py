"""YAML text → Job, or every fault at file:line:column. Pure: text and environment come in."""

from runner.spec.check import load

__all__ = ["load"]
