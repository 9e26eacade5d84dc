# SPDX-License-Identifier: Apache-2.0
"""Episodes a second of this package, of a floor and of a DataLoader, from the same files."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from pipelines.dataset import episode_dataset
from pipelines.errors import UserError
from pipelines.index import build_index
from pipelines.prepare.records import records
from pipelines.reading.augment import MEAN_COLOUR, Augment, draw, inverse, placed, shown_sides
from pipelines.sampler import Episode, EpisodeSampler
from pipelines.sources import Source, open_source
from pipelines.sources.masks import one_class

HOW = Augment(scale=(0.9, 1.1), rotation=10.0)  # Pillow's blur is another than OpenCV's


def photos_of(source: Any, episode: Episode) -> list[tuple[Path, Path]]:
    """[(photo path, mask path)] of an episode's support and query."""
    return [(source.image_path(n), source.mask_path(n)) for n in (*episode.support, episode.query)]


def floor(source: Any, episodes: Sequence[Episode], size: int,
          workers: int) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Decode and resize, nothing else: yields [(photo, mask)] an episode."""
    def read(episode):
        pictures = []
        for photo, mask in photos_of(source, episode):
            image = cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            index = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            how = cv2.INTER_AREA if min(image.shape[:2]) >= size else cv2.INTER_LINEAR
            pictures.append((cv2.resize(image, (size, size), interpolation=how),
                             cv2.resize(index, (size, size), interpolation=cv2.INTER_NEAREST)))
        return pictures

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(read, episodes)


def ours(source: Source, episodes: Sequence[Episode], size: int, workers: int, batch: int,
         how: Augment | None) -> Iterator[dict[str, np.ndarray]]:
    """Batches of `episode_dataset`, as NumPy."""
    return episode_dataset(source, episodes, image_size=size, batch=batch, flip=how is not None,
                           augment=how, parallel_calls=2 * workers).as_numpy_iterator()


class PillowEpisodes:
    """Episodes of a PyTorch DataLoader, which asks no more of a data set; read by Pillow.

    At module level, so that a spawned process can unpickle it.
    """

    def __init__(self, source: Any, episodes: Sequence[Episode], size: int) -> None:
        self.numbers = [np.asarray(draw(0, e.episode_id, 2)) for e in episodes]
        self.photos = [photos_of(source, e) for e in episodes]
        self.episodes, self.size = episodes, size

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        item = {}
        for role, (photo, mask), number in zip(("support", "query"), self.photos[i],
                                               self.numbers[i], strict=True):
            item[f"{role}_image"], item[f"{role}_mask"] = pillow_picture(
                photo, mask, self.episodes[i].class_id, self.size, number)
        return item


def torch_loader(source: Any, episodes: Sequence[Episode], size: int, workers: int,
                 batch: int) -> Iterable[dict]:
    """Batches of a PyTorch DataLoader whose items are read by Pillow."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        raise UserError("the comparison needs PyTorch: pip install 'sst-tf[peers]' (a CPU build "
                        "suffices), or leave it out with --no_torch") from None
    return DataLoader(PillowEpisodes(source, episodes, size), batch_size=batch,
                      num_workers=workers, persistent_workers=True)


def pillow_picture(photo: Path, mask: Path, class_id: int, size: int,
                   numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A photo and its class mask, augmented by Pillow: uint8 [S, S, 3], [S, S]."""
    image, index = Image.open(photo).convert("RGB"), np.asarray(Image.open(mask))
    scale, angle, shift = placed(numbers, HOW)

    def data(shape):
        back = inverse(shape, (size, size), size, scale, angle, shift, numbers[5] < 0.5)
        # Pillow counts from the pixels' corners, OpenCV from their centres.
        turn, move = back[:, :2], back[:, 2] + 0.5 - back[:, :2].sum(1) / 2
        return *turn[0], move[0], *turn[1], move[1]

    sides = shown_sides(index.shape, (size, size), scale)
    small = image.resize(sides[::-1], Image.Resampling.BILINEAR)
    shown = small.transform((size, size), Image.Transform.AFFINE, data(sides),
                            Image.Resampling.BILINEAR, fillcolor=MEAN_COLOUR)
    target = Image.fromarray(one_class(index, class_id)).transform(
        (size, size), Image.Transform.AFFINE, data(index.shape), Image.Resampling.NEAREST,
        fillcolor=255)
    return np.array(shown), np.array(target)


def check(source: Any, episodes: Sequence[Episode], size: int) -> None:
    """The three must show the same pictures, or their times mean nothing."""
    few = episodes[:8]
    plain = next(ours(source, few, size, 1, len(few), None))
    for row, (support, query) in enumerate(floor(source, few, size, 1)):
        photos = photos_of(source, few[row])
        for (image, _), key, (photo, _) in zip((support, query), ("support_image", "query_image"),
                                               photos, strict=True):
            mine = np.squeeze(plain[key][row]).astype(int)
            # OpenCV averages areas, Pillow and ours weigh them by a triangle: near, not the same.
            level = np.abs(mine - image).mean()
            assert level < 4, f"floor and ours differ by {level:.2f} gray levels"
            whole = Image.open(photo).convert("RGB")
            pillow = whole.resize((size, size), Image.Resampling.BILINEAR)
            difference = np.abs(mine - np.asarray(pillow)).max()
            assert difference <= 2, f"Pillow's resize and ours differ by {difference} gray levels"
    augmented = next(ours(source, few, size, 1, len(few), HOW))
    for row, episode in enumerate(few):
        roles = zip(("support", "query"), photos_of(source, episode),
                    np.asarray(draw(0, episode.episode_id, 2)), strict=True)
        for role, (photo, mask), numbers in roles:
            image, target = pillow_picture(photo, mask, episode.class_id, size, numbers)
            if not np.any(target == 1):
                continue  # ours shows the photo whole rather than lose its object
            mine = np.squeeze(augmented[f"{role}_image"][row]).astype(int)
            # Pillow samples twice, by shrinking and by turning; ours once, and is sharper for it.
            mine, image = (cv2.GaussianBlur(one.astype(np.float32), (0, 0), 2)
                           for one in (mine, image))
            level = np.abs(mine - image).mean()
            share = (np.squeeze(augmented[f"{role}_mask"][row]) != target).mean()
            assert level < 1.5 and share < 0.005, (
                f"Pillow and ours differ by {level:.2f} gray levels, {share:.4f} of the mask")


def rate(batches: Iterable) -> float:
    """Episodes a second of a started reader; worker start-up is not counted."""
    batches = iter(batches)
    next(batches)
    started, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch["query_mask"]) if isinstance(batch, dict) else 1
    return count / (time.perf_counter() - started)


class Rate(NamedTuple):
    """A reader's rate: medians over the rounds, and the middle half of the ratios.

    Attributes:
        episodes: a second.
        ratio: its rate over the floor's of the same round.
        quartiles: of the ratio.
    """

    episodes: float
    ratio: float
    quartiles: tuple[float, float]


def compare(root: str | Path, count: int, rounds: int, size: int, workers: int, batch: int,
            torch: bool = True, kept: str | Path | None = None) -> dict[str, Rate]:
    """{reader: `Rate`}.

    Args:
        root: folder in VOC layout.
        count: episodes a round.
        torch: measure a PyTorch DataLoader, too.
        kept: folder where records of the photos are made, or are; None leaves them out.
    """
    source = open_source("voc", root)
    index = build_index(source, source.image_ids("all"), progress=True)
    episodes = EpisodeSampler(index.pairs, 1, seed=0, skip_small=True).take(count)
    cv2.setNumThreads(1)  # the readers' threads are the parallel ones
    check(source, episodes, size)
    readers: dict[str, Callable[[], Iterable]] = {
        "floor": lambda: floor(source, episodes, size, workers),
        "folder": lambda: ours(source, episodes, size, workers, batch, HOW)}
    if kept is not None:
        stored = open_source("voc", records(source, kept, size, progress=True))
        same(source, stored, episodes, size)
        readers["records"] = lambda: ours(stored, episodes, size, workers, batch, None)
        readers["records augmented"] = lambda: ours(stored, episodes, size, workers, batch, HOW)
    if torch:
        loader = torch_loader(source, episodes, size, workers, batch)
        rate(loader)  # its processes start
        readers["DataLoader"] = lambda: loader
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in tqdm(range(rounds), desc="rounds"):
        for name, reader in readers.items():
            rates[name].append(rate(reader()))
    ratios = {name: np.divide(values, rates["floor"]) for name, values in rates.items()}
    return {name: Rate(float(np.median(rates[name])), float(np.median(values)),
                       (float(np.quantile(values, 0.25)), float(np.quantile(values, 0.75))))
            for name, values in ratios.items()}


def same(source: Source, stored: Source, episodes: Sequence[Episode], size: int) -> None:
    """Records must give the photos' own bits, or their times mean nothing."""
    few = episodes[:8]
    first, second = (next(ours(one, few, size, 1, len(few), None)) for one in (source, stored))
    for key in ("support_image", "support_mask", "query_image", "query_mask"):
        assert np.array_equal(first[key], second[key]), f"records and photos differ in {key}"
