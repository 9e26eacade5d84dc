# SPDX-License-Identifier: Apache-2.0
"""The parts that all methods share, read from their equations in NumPy, one photo at a time."""

import numpy as np


def weights(marked, height, width):
    """Share of marked pixels [H, W] under each of height x width cells, by tents."""
    def tents(pixels, cells):
        position = np.linspace(0, cells - 1, pixels)
        tent = np.clip(1 - np.abs(position[None] - np.arange(cells)[:, None]), 0, None)
        return tent / tent.sum(1, keepdims=True)

    return np.einsum("ih,hw,jw->ij", tents(marked.shape[0], height), marked.astype(float),
                     tents(marked.shape[1], width))


def average(features, marked):
    """Average of features [h, w, C] where pixels are marked."""
    share = weights(marked, *features.shape[:2])
    return (features * share[..., None]).sum((0, 1)) / share.sum()


def cosine(features, vector):
    """Of every place with a vector, lengths rounded up by a little: C times 0.001 in the square."""
    little = 1e-3 * len(vector)
    lengths = np.sqrt((features**2).sum(-1) + little) * np.sqrt((vector**2).sum() + little)
    return features @ vector / lengths


def enlarged(maps, size):
    """Bilinear, corners on corners."""
    rows = np.linspace(0, maps.shape[0] - 1, size[0])
    columns = np.linspace(0, maps.shape[1] - 1, size[1])
    tall = np.stack([np.interp(rows, np.arange(len(c)), c) for c in maps.T], 1)
    return np.stack([np.interp(columns, np.arange(len(r)), r) for r in tall])


def convolve(x, layer):
    """A `Conv2D` of stride 1 on [h, w, C], its ReLU included."""
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    reach = layer.dilation * (len(kernel) - 1) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    total = np.zeros((*x.shape[:2], kernel.shape[-1])) + bias
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            top, left = i * layer.dilation, j * layer.dilation
            total += padded[top:top + x.shape[0], left:left + x.shape[1]] @ kernel[i, j]
    return np.maximum(total, 0) if layer.activation == "relu" else total


def decode(decoder, x):
    """`Decoder` on the features' grid: [h, w, C] to log-odds [h, w]."""
    for first, second in zip(decoder.residual_first, decoder.residual_second, strict=True):
        x = np.maximum(x + convolve(convolve(x, first), second), 0)
    parts = [convolve(x, branch) for branch in decoder.branches]
    parts.append(np.zeros_like(x) + convolve(x.mean((0, 1), keepdims=True), decoder.pooled))
    return convolve(convolve(convolve(np.concatenate(parts, -1), decoder.project), decoder.refine),
                    decoder.classify)[..., 0]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(logit, mask):
    """Mean over the pixels that count."""
    loss = np.logaddexp(0, logit) - (mask == 1) * logit
    return loss[mask != 255].mean()


def iou(logit, mask):
    predicted = (logit > 0) & (mask != 255)
    return (predicted & (mask == 1)).sum() / (predicted | (mask == 1)).sum()
