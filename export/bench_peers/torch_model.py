# SPDX-License-Identifier: Apache-2.0
"""SST with a ResNet-18 in PyTorch, the inner step included, to race against: not for use.

It computes what `sst_tf.model` computes from the same weights (a test holds the two together),
with PyTorch's own operations where it has one. Maps are NCHW, in the memory format channels_last,
which is PyTorch's faster one on processors.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, SPREAD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, on 0..255
RATES = (6, 12, 18)


class Convolutions(nn.Module):
    """Convolutions by name, as `sst_tf.model` names them; every one keeps its map's size at stride
    1 and halves it at stride 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()

    def add(self, name: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1,
            dilation: int = 1) -> None:
        """Make one."""
        self.layers[name] = nn.Conv2d(inputs, outputs, kernel, stride,
                                      dilation * (kernel - 1) // 2, dilation)

    def forward(self, name: str, x: Tensor, relu: bool = True) -> Tensor:
        """One of them, with ReLU unless told."""
        x = self.layers[name](x)
        return functional.relu(x) if relu else x


class Backbone(nn.Module):
    """ResNet-18 through layer3 at stride 8: photos [B, 3, H, W] uint8 -> [B, 384, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Convolutions()
        self.conv.add("conv1", 3, 64, 7, 2)
        inputs = 64
        for stage, filters in ((1, 64), (2, 128), (3, 256)):
            stride, hole = (2 if stage == 2 else 1), (2 if stage == 3 else 1)
            self.conv.add(f"layer{stage}_0_conv1", inputs, filters, 3, stride)
            self.conv.add(f"layer{stage}_0_conv2", filters, filters, dilation=hole)
            self.conv.add(f"layer{stage}_1_conv1", filters, filters, dilation=hole)
            self.conv.add(f"layer{stage}_1_conv2", filters, filters, dilation=hole)
            if stage > 1:
                self.conv.add(f"layer{stage}_0_shortcut", inputs, filters, 1, stride)
            inputs = filters
        for name, values in (("mean", MEAN), ("spread", SPREAD)):
            self.register_buffer(name, torch.tensor(values)[None, :, None, None])

    def forward(self, photos: Tensor) -> Tensor:
        """layer2 and layer3, joined."""
        x = self.conv("conv1", (photos.float() - self.mean) / self.spread)
        x = functional.max_pool2d(x, 3, 2, 1)
        stages = []
        for stage in (1, 2, 3):
            x = self._block(f"layer{stage}_1", self._block(f"layer{stage}_0", x))
            stages.append(x)
        return torch.cat(stages[1:], 1)

    def _block(self, name, x):
        shortcut = f"{name}_shortcut"
        kept = self.conv(shortcut, x, relu=False) if shortcut in self.conv.layers else x
        x = self.conv(f"{name}_conv2", self.conv(f"{name}_conv1", x), relu=False)
        return functional.relu(kept + x)


class Segmenter(nn.Module):
    """Frozen backbone, embedding, comparator, decoder and the tuning step.

    Args:
        channels: C.
        product: of the comparator.
        step_size, balanced: of the inner step, whose update is relative and of second order.
        steps: 0 or 1.
        compiles: write the inner gradient in the form that `torch.compile` takes.
    """

    def __init__(self, channels: int, product: bool = True, step_size: float = 0.1,
                 balanced: bool = True, steps: int = 1, compiles: bool = False):
        super().__init__()
        self.product, self.step_size, self.steps = product, step_size, steps
        self.balanced, self.compiles = balanced, compiles
        self.backbone, self.conv = Backbone().requires_grad_(False), Convolutions()
        self.conv.add("embedding", 384, channels)
        self.conv.add("first", (3 if product else 2) * channels, channels)
        for name in ("second", "residual1_1", "residual2_1", "residual1_2", "residual2_2",
                     "refine"):
            self.conv.add(name, channels, channels)
        for rate in RATES:
            self.conv.add(f"aspp_{rate}", channels, channels, dilation=rate)
        for name in ("aspp_1", "aspp_pool"):
            self.conv.add(name, channels, channels, 1)
        self.conv.add("aspp_project", channels * (len(RATES) + 2), channels, 1)
        self.conv.add("classify", channels, 1, 1)

    def load(self, weights: Mapping[str, np.ndarray]) -> "Segmenter":
        """Take the weights of an `SSTSegmenter`, {path: array}; returns itself."""
        left = set(weights)
        for layers in (self.backbone.conv.layers, self.conv.layers):
            for name, layer in layers.items():
                kernel = np.ascontiguousarray(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
                layer.weight.data = torch.from_numpy(kernel).to(
                    memory_format=torch.channels_last)
                layer.bias.data = torch.from_numpy(np.array(weights[f"{name}/bias"]))
                left -= {f"{name}/kernel", f"{name}/bias"}
        if left:
            raise ValueError(f"weights without a place: {', '.join(sorted(left))}")
        return self

    # ---- the head ---------------------------------------------------------------------------

    def head(self, features: Tensor, prototype: Tensor, size: tuple[int, int]) -> Tensor:
        """Log-odds [B, H, W] of features [B, C, h, w] under a prototype [B, C] each."""
        vector = prototype[:, :, None, None]
        if self.product:
            features, vector = unit_rms(features), unit_rms(vector)
        tiled = vector.expand_as(features)
        parts = [features, tiled] + ([features * tiled] if self.product else [])
        x = self.conv("second", self.conv("first", torch.cat(parts, 1)))
        for i in (1, 2):
            inner = self.conv(f"residual{i}_1", x)
            x = functional.relu(x + self.conv(f"residual{i}_2", inner, relu=False))
        context = self.conv("aspp_pool", x.mean((2, 3), keepdim=True)).expand_as(x)
        branches = [self.conv(f"aspp_{rate}", x) for rate in (1, *RATES)]
        x = self.conv("aspp_project", torch.cat([*branches, context], 1))
        x = self.conv("classify", self.conv("refine", x), relu=False)
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)[:, 0]

    def tune(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Prototype of R'_s [N, C], and S_sup before the step [N, H, W] (Eq. 8 to 12)."""
        weights, size = pool_weights(mask, features.shape[-2:]), mask.shape[-2:]

        def loss(one):
            logit = self.head(one, average(one, weights), size)
            return cross_entropy(logit, mask, self.balanced).sum(), logit

        if not self.steps:
            return average(features, weights), loss(features)[1]
        if self.compiles:
            gradient, (_, logit) = torch.func.grad_and_value(loss, has_aux=True)(features)
        else:
            gradient, logit = self._gradient(features, loss)
        scale = norm(features * weights) / norm(gradient * weights).clamp_min(1e-30)
        update = self.step_size * gradient * scale.detach()[:, None, None, None]
        return average(features - update, weights), logit

    def _gradient(self, features, loss):
        outer = torch.is_grad_enabled()  # in training: the outer gradient runs through the inner
        with torch.enable_grad():
            leaf = features if outer else features.detach().requires_grad_()
            total, logit = loss(leaf)
            gradient, = torch.autograd.grad(total, leaf, create_graph=outer)
        return gradient, logit if outer else logit.detach()

    # ---- what is raced ----------------------------------------------------------------------

    def segment(self, support: Tensor, mask: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Probability [B, H, W] and the supports' own IoU [B], of one support and query each.

        Args:
            support, query: uint8 [B, 3, H, W].
            mask: uint8 [B, H, W].
        """
        r_s, r_q = (self.conv("embedding", self.backbone(one)) for one in (support, query))
        prototype, logit = self.tune(r_s, mask)
        return torch.sigmoid(self.head(r_q, prototype, query.shape[-2:])), hard_iou(logit, mask)

    def loss(self, support: Tensor, mask: Tensor, query: Tensor, query_mask: Tensor,
             features: bool = False) -> Tensor:
        """The training loss: of the query and of the self-segmentation.

        Args:
            features: what is given are the backbone's features, not photos.
        """
        if not features:
            with torch.no_grad():
                support, query = self.backbone(support), self.backbone(query)
        r_s, r_q = self.conv("embedding", support), self.conv("embedding", query)
        prototype, own = self.tune(r_s, mask)
        logit = self.head(r_q, prototype, query_mask.shape[-2:])
        return (cross_entropy(logit, query_mask, self.balanced)
                + cross_entropy(own, mask, self.balanced)).mean()


def unit_rms(x: Tensor) -> Tensor:
    """As `sst_tf.model.layers.unit_rms`, over axis 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-3)


def pool_weights(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """As `sst_tf.model.layers.pool_weights`: mask [B, H, W] -> [B, 1, h, w]."""
    tall, wide = (tents(here, there) for here, there in zip(mask.shape[-2:], size, strict=True))
    return (tall @ (mask == 1).float() @ wide.T)[:, None]


def tents(source: int, target: int) -> Tensor:
    """Averaging by tents, [target, source], rows of sum 1."""
    step = (target - 1) / max(source - 1, 1)
    position = torch.arange(source, dtype=torch.float32) * step
    rows = (1 - (position - torch.arange(target)[:, None]).abs()).clamp_min(0)
    return rows / rows.sum(1, keepdim=True)


def average(features: Tensor, weights: Tensor) -> Tensor:
    """Masked average: [B, C, h, w], [B, 1, h, w] -> [B, C]."""
    return (features * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


def norm(x: Tensor) -> Tensor:
    """Of each of N, [N, ...] -> [N]."""
    return x.square().sum((1, 2, 3)).sqrt()


def cross_entropy(logit: Tensor, mask: Tensor, balanced: bool) -> Tensor:
    """As `sst_tf.model.losses.cross_entropy`: [B, H, W] twice -> [B]."""
    foreground, counted = (mask == 1).float(), (mask != 255).float()
    loss = functional.softplus(logit) - foreground * logit
    if not balanced:
        return (loss * counted).sum((1, 2)) / counted.sum((1, 2)).clamp_min(1)
    parts = torch.stack([foreground, counted - foreground])  # [2, B, H, W]
    area = parts.sum((2, 3))
    means = (loss * parts).sum((2, 3)) / area.clamp_min(1)
    return means.sum(0) / (area > 0).sum(0).clamp_min(1)


def hard_iou(logit: Tensor, mask: Tensor) -> Tensor:
    """As `sst_tf.model.losses.hard_iou`."""
    predicted, true = (logit > 0) & (mask != 255), mask == 1
    union = (predicted | true).sum((1, 2)).float()
    return (predicted & true).sum((1, 2)) / union.clamp_min(1)
