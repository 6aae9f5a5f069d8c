"""Records as lines of an attempt's log, between what the task's own code prints."""

from __future__ import annotations

import time

from runner.model import Record


def log_line(record: Record) -> str | None:
    """The record in a line for a person, or None for one that says nothing new."""
    data = record.data
    text = None
    if record.event == "attempt_running":
        about = data["environment"]
        text = (
            f"{record.task}, attempt {record.attempt}: on {data['host']}, process {data['pid']}, "
            f"{about['device']}, {about['threads']} threads"
            + (f", torch {about['torch']}" if "torch" in about else "")
        )
    elif record.event == "fact":
        text = f"{data['name']}: {data['text']}"
    elif record.event == "progress":
        text = f"{data['phase']} step {data['step']}/{data['total_steps']}"
        text += f", loss {data['loss']:.4g}" if data["loss"] is not None else ""
    elif record.event == "metrics":
        summary = [f"{name} {value:.6g}" for name, step, value in data["points"] if step is None]
        text = ", ".join(summary) or None
    elif record.event == "artifact":
        text = f"artifact {data['name']}: {data['path']}, {data['bytes']:,} bytes"
    elif record.event == "attempt_ended":
        text = str(data["status"])
    if text is None:
        return None
    return f"{time.strftime('%H:%M:%S', time.gmtime(record.at_s))} {text}"
