"""The loops of Lightning, Accelerate and Ray Train, each as it documents itself or tuned.

Tuned, they get the batches, the optimizer and the layout of the best loop written by hand, so that
what is left of a difference is the trainer's own cost.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainers.loops import adam, default_loader, mean_loss, tuned
from trainers.samples import Training, through


def lightning(training: Training, *, is_tuned: bool) -> list[Tensor]:
    """Lightning's Trainer, barebones: no logger, no bar, no checkpoints, no summary."""
    from lightning.pytorch import LightningModule, Trainer

    losses = []

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = training.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, targets = batch
            loss = mean_loss(self.model(inputs), targets)
            losses.append(loss.detach())
            return loss

        def configure_optimizers(self) -> Any:
            return adam(self.model, is_tuned=is_tuned)

    loader = tuned(training) if is_tuned else default_loader(training)
    trainer = Trainer(
        accelerator="cpu", devices=1, max_steps=training.steps, max_epochs=-1, barebones=True
    )
    trainer.fit(Module(), loader)
    return losses


def accelerate(training: Training, *, is_tuned: bool) -> list[Tensor]:
    """Accelerate's prepare and backward in the tutorial's loop."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    loader: Any = tuned(training) if is_tuned else default_loader(training)
    model, optimizer = accelerator.prepare(training.model, adam(training.model, is_tuned=is_tuned))
    if not is_tuned:
        loader = accelerator.prepare(loader)
    losses = []
    model.train()
    for inputs, targets in through(loader, training.steps):
        loss = mean_loss(model(inputs), targets)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses


def ray_train(training: Training, *, is_tuned: bool) -> list[Tensor]:
    """Ray Train's prepared model and loader in the tutorial's loop; in a worker of TorchTrainer."""
    from ray.train.torch import prepare_data_loader, prepare_model

    loader: Any = tuned(training) if is_tuned else prepare_data_loader(default_loader(training))
    model = prepare_model(training.model)
    optimizer = adam(model, is_tuned=is_tuned)
    losses = []
    model.train()
    for inputs, targets in through(loader, training.steps):
        loss = mean_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses
