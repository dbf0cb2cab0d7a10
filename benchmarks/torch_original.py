"""The first face swap's autoencoder in PyTorch, for the comparison in ``bench_train.py``: steps a second on this CPU.

As PyTorch is fast with it here: channels last, both sides through the encoder at once. MAE, Adam, random pictures.
``PYTHON torch_original.py BATCH STEPS``, with an interpreter that has torch (dependency group ``bench``).
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn


def down(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 5, stride=2, padding=2), nn.LeakyReLU(0.1))


def up(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, 4 * b, 3, padding=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.Sequential(down(3, 128), down(128, 256), down(256, 512), down(512, 1024))
        self.code, self.open = nn.Linear(4 * 4 * 1024, 1024), nn.Linear(1024, 4 * 4 * 1024)
        self.up = up(1024, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.open(self.code(self.downs(x).flatten(1)))
        return self.up(x.reshape(-1, 1024, 4, 4).contiguous(memory_format=torch.channels_last))


def decoder() -> nn.Sequential:
    return nn.Sequential(up(512, 256), up(256, 128), up(128, 64), nn.Conv2d(64, 3, 5, padding=2), nn.Sigmoid())


def main() -> None:
    batch, steps = map(int, sys.argv[1:3])
    torch.manual_seed(0)
    networks = [net.to(memory_format=torch.channels_last) for net in (Encoder(), decoder(), decoder())]
    encoder, *decoders = networks
    optimizer = torch.optim.Adam([p for net in networks for p in net.parameters()], lr=5e-5)
    shown = torch.rand(batch, 3, 64, 64).to(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        maps = encoder(shown).chunk(2)
        loss = sum(
            (made(part) - target).abs().mean()
            for made, part, target in zip(decoders, maps, shown.chunk(2), strict=True)
        )
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    began = time.monotonic()
    for _ in range(steps):
        step()
    print(steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
