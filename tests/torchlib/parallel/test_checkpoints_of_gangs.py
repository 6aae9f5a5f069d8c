"""A rank that can't write its part of a checkpoint: all ranks hear of it, and go on together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path

from cases import make, Case
from runner.model import Fact, Metric, Widths
from runner.torchlib import checkpoint_files as files
from runner.torchlib.checkpoint import Checkpoints
from runner.torchlib.loop import fit
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.parallel.engine import make_engine
from runner.torchlib.parallel.options import Options
from runner.torchlib.parallel.world import joined
from runner.torchlib.precision import Precision
from runner.torchlib.schedules import make_schedule

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
write = files.write

def refusing(file, content):
    if rank == 1 and file.parent.name.endswith("00000002"):
        raise OSError(28, "No space left on device")
    write(file, content)

files.write = refusing
with joined(folder=folder, host="127.0.0.1", rank=rank, world_size=2, device="cpu", timeout_s=60):
    model, some = make(Case(name="disk", model="mlp"))
    engine = make_engine(
        model,
        widths=Widths(strategy="ddp", dp_replicate=2),
        precision=Precision("fp32", "cpu"),
        device="cpu",
        global_batch_size=8,
        micro_batch_size=4,
        options=Options(),
        sample=some.test_inputs[0],
    )
    optimizer = make_optimizer(engine.parameters(), name="adam", learning_rate=1e-3)
    checkpoints = Checkpoints(
        folder / "checkpoints", every_steps=2, keep=2, engine=engine, optimizer=optimizer
    )
    events = list(
        fit(
            engine,
            some,
            objective=CrossEntropy(),
            optimizer=optimizer,
            schedule=make_schedule(optimizer, total_steps=5),
            global_batch_size=8,
            micro_batch_size=4,
            checkpoints=checkpoints,
        )
    )
said = [event.text for event in events if isinstance(event, Fact)]
losses = [e.value for e in events if isinstance(e, Metric) and e.name == "train/loss"]
(folder / f"told-{rank}.json").write_text(json.dumps([said, losses]))
"""


def test_what_one_rank_can_not_write_is_known_to_all(tmp_path: Path) -> None:
    here = Path(__file__).parent
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path)],
            cwd=here,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    (first, losses), (second, _) = (
        json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(2)
    )
    assert first == second and len(first) == 1 and len(losses) == 5
    assert "step-00000002 can't be written: [Errno 28] No space left on device" in first[0]
    assert [path.name for path in sorted((tmp_path / "checkpoints").glob("step-*"))] == [
        "step-00000004"
    ]
