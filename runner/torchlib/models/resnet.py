"""The residual network for small images of He, Zhang, Ren and Sun 2015, section 4.2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from runner.data.arguments import check_image


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose output is added to their input.

    Where the block changes the shape, the shortcut takes every second pixel and fills the new
    channels with zeros: option A of the paper, which has no parameters.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.added = outputs - inputs

    def forward(self, images: Tensor) -> Tensor:
        """(samples, inputs, height, width) to (samples, outputs, height / stride, ...)."""
        out = functional.relu(self.norm1(self.conv1(images)), inplace=True)
        out = self.norm2(self.conv2(out))
        if self.stride > 1 or self.added:
            images = images[:, :, :: self.stride, :: self.stride]
            images = functional.pad(images, (0, 0, 0, 0, 0, self.added))
        return functional.relu(out + images, inplace=True)


class ResNet(nn.Module):
    """A 3x3 convolution, three stages of residual blocks at falling resolution, a linear layer."""

    def __init__(self, *, channels: int, num_classes: int, blocks: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                stages.append(ResidualBlock(inputs, outputs, stride=stride))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015, "Delving deep into rectifiers": the initialisation the paper uses.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (samples, channels, height, width)."""
        out = functional.relu(self.norm(self.conv(images)), inplace=True)
        out = self.blocks(out)
        logits: Tensor = self.head(out.mean(dim=(2, 3)))
        return logits


def make(*, input_shape: tuple[int, ...], num_classes: int, depth: int, width: int) -> nn.Module:
    """A network of ``depth`` = 6n + 2 layers (20, 32, 44, 56, 110) whose first stage is ``width``.

    With width 16, depth 20 has 0.27 M parameters, as in table 6 of the paper.
    """
    check_image("resnet", input_shape)
    return ResNet(
        channels=input_shape[0], num_classes=num_classes, blocks=(depth - 2) // 6, width=width
    )
