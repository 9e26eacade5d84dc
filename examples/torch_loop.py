# SPDX-License-Identifier: Apache-2.0
"""Episodes for a PyTorch loop, as NumPy: python examples/torch_loop.py

TensorFlow reads and batches in its own threads; `torch.tensor` shares the memory.
"""

import argparse

import torch
from torch import nn

from pipelines import episodes


class Network(nn.Module):
    """A prototype network: cosine of each query pixel to the support's masked average."""

    def __init__(self, width=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1))
        self.scale, self.bias = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))

    def forward(self, support, mask, query):
        features = self.features(support)  # [B, C, h, w]
        share = nn.functional.interpolate(mask[:, None], features.shape[2:], mode="area")
        prototype = (features * share).sum((2, 3)) / (share.sum((2, 3)) + 1e-6)
        cosine = nn.functional.cosine_similarity(self.features(query), prototype[..., None, None])
        odds = (self.scale * cosine + self.bias)[:, None]
        return nn.functional.interpolate(odds, query.shape[2:], mode="bilinear")[:, 0]


def photos(array):
    """uint8 [B, S, S, 3] to float [B, 3, S, S] of -1..1."""
    return torch.tensor(array).permute(0, 3, 1, 2).float() / 127.5 - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    dataset = episodes("shapes", fold=0, split="train", batch=8, image_size=97)
    for step, episode in enumerate(dataset.take(options.steps).as_numpy_iterator()):
        mask = torch.tensor(episode["support_mask"][:, 0] == 1).float()
        odds = model(photos(episode["support_image"][:, 0]), mask, photos(episode["query_image"]))
        target = torch.tensor(episode["query_mask"])
        loss = nn.functional.binary_cross_entropy_with_logits(
            odds, (target == 1).float(), weight=(target != 255).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
