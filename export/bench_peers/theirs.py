# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side: each function gets ready and returns (what measures, first answer)."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.bench_peers.materials import settings
from export.bench_peers.options import Options
from export.bench_peers.ours import Ready, seconds_of
from export.bench_peers.photos import sample
from export.bench_peers.torch_model import Segmenter


def _model(folder, options, compiles):
    torch.set_num_threads(options.threads)
    given = settings(folder)
    model, tuner = given["model"], given["tuner"]
    segmenter = Segmenter(model["channels"], model["comparator"] == "product",
                          tuner["step_size"], given["loss"]["balanced"], tuner["steps"],
                          compiles)
    with np.load(folder / "weights.npz") as weights:
        return segmenter.load(weights)


def _episode(folder, kind) -> list[Tensor]:
    """[support, its mask, query, its mask], maps NCHW in channels_last."""
    with np.load(folder / "episode.npz") as arrays:
        support, query = (torch.from_numpy(arrays[f"{role}_{kind}"]) for role in
                          ("support", "query"))
        masks = [torch.from_numpy(arrays[f"{role}_mask"]) for role in ("support", "query")]
    return [support[:, 0].permute(0, 3, 1, 2), masks[0][:, 0], query.permute(0, 3, 1, 2), masks[1]]


def training(folder: Path, options: Options, kind: str, compiles: bool) -> Ready:
    """A step with the preset's optimizer: Adam, gradients clipped, cosine rate, averaged weights.

    Loss and both gradients are compiled; the optimizer's own loops are PyTorch's fused ones.
    """
    model, episode = _model(folder, options, compiles), _episode(folder, kind)
    given = settings(folder)["optimizer"]
    variables = list(model.conv.parameters())
    optimizer = torch.optim.Adam(variables, given["learning_rate"], eps=1e-7, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / 10_000, 1))))
    averages = [variable.detach().clone() for variable in variables]
    loss_of = torch.compile(model.loss) if compiles else model.loss

    def call():
        optimizer.zero_grad()
        loss = loss_of(*episode, features=kind == "features")
        loss.backward()
        if given["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(variables, given["clip_norm"])
        optimizer.step()
        schedule.step()
        if given["average"]:
            torch._foreach_lerp_(averages, variables, 1 - given["average"])
        return loss.item()

    return seconds_of(call), np.array(call())


def segment(folder: Path, options: Options, compiles: bool) -> Ready:
    """One support, one query, NumPy in and out as on our side."""
    model = _model(folder, options, compiles).eval()
    run = torch.compile(model.segment) if compiles else model.segment
    with np.load(folder / "episode.npz") as arrays:
        photos = [np.ascontiguousarray(arrays[f"{role}_image"].reshape(
            -1, *arrays["query_image"].shape[1:])[:1]) for role in ("support", "query")]
        mask = np.ascontiguousarray(arrays["support_mask"][:1, 0])

    def call():
        support, query = (torch.from_numpy(one).permute(0, 3, 1, 2) for one in photos)
        with torch.no_grad():
            return run(support, torch.from_numpy(mask), query)[0].numpy()

    return seconds_of(call), call()


def data_loader(folder: Path, options: Options) -> Ready:
    """A DataLoader that does what `episodes` does, with Pillow; seconds an episode."""
    from pipelines.reading_rates import torch_loader

    return _started(torch_loader, folder, options)


def task_loader(folder: Path, options: Options) -> Ready:
    """Tasks of nested data sets, as pytorch-meta reads them; seconds an episode."""
    from export.bench_peers.tasks import TaskLoader

    return _started(TaskLoader, folder, options)


def _started(make, folder, options):
    """One loader for all rounds: its processes start, and import all they need, before the first.

    In a race they are spawned, not forked, which takes longer than a round.
    """
    from pipelines.reading_rates import rate

    source, episodes = sample(folder, options)
    loader = make(source, episodes, options.image_size, options.threads, options.batch)
    rate(loader)
    return lambda: 1 / rate(loader), np.array(len(episodes))
