# SPDX-License-Identifier: Apache-2.0
"""Episodes the way pytorch-meta reads them, in words of our own.

A data set of a class holds the files of its photos; a task is such a data set and two lists of
positions in it, the support's and the query's; a loader indexes tasks, which index examples, which
open their files with Pillow, resize them and make float tensors of them. Nothing is augmented.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from pipelines.sampler import Episode
from pipelines.sources.masks import one_class


class ClassPhotos(Dataset):
    """All photos of one class that episodes name: (photo [3, S, S], mask [S, S])."""

    def __init__(self, class_id: int, files: Sequence[tuple[Path, Path]], size: int):
        self.class_id, self.files, self.size = class_id, files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        opened, mask = (Image.open(path) for path in self.files[i])
        sides = (self.size, self.size)
        photo = opened.convert("RGB").resize(sides, Image.Resampling.BILINEAR)
        target = Image.fromarray(one_class(np.asarray(mask), self.class_id)).resize(
            sides, Image.Resampling.NEAREST)
        return (torch.from_numpy(np.array(photo)).permute(2, 0, 1).contiguous().float() / 255,
                torch.from_numpy(np.array(target)))


class Tasks(Dataset):
    """{"train": support, "test": query} of each episode, examples stacked."""

    def __init__(self, source: Any, episodes: Sequence[Episode], size: int):
        names: dict[int, list[str]] = {}
        for one in episodes:
            names.setdefault(one.class_id, []).extend((*one.support, one.query))
        names = {c: sorted(set(found)) for c, found in names.items()}
        self.classes = {
            c: ClassPhotos(c, [(source.image_path(n), source.mask_path(n)) for n in found], size)
            for c, found in names.items()}
        self.parts = [(one.class_id, {"train": [names[one.class_id].index(n) for n in one.support],
                                      "test": [names[one.class_id].index(one.query)]})
                      for one in episodes]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, i: int) -> dict[str, Any]:
        class_id, parts = self.parts[i]
        whole = self.classes[class_id]
        return {role: default_collate([example for example in _all(Subset(whole, chosen))])
                for role, chosen in parts.items()}


def _all(dataset):
    for i in range(len(dataset)):
        yield dataset[i]


class TaskLoader:
    """Batches; `query_mask` [B, 1, S, S] says how many episodes one holds."""

    def __init__(self, source: Any, episodes: Sequence[Episode], size: int, workers: int,
                 batch: int):
        self.loader = DataLoader(Tasks(source, episodes, size), batch_size=batch,
                                 num_workers=workers, persistent_workers=True)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for one in self.loader:
            yield {"support": one["train"], "query_image": one["test"][0],
                   "query_mask": one["test"][1]}
