# SPDX-License-Identifier: Apache-2.0
"""COCO in the layout that its own tools and `sources.coco` read."""

import os
from pathlib import Path

from pipelines.leftovers import sweep
from pipelines.prepare.archives import Archive, counted, extracted, fetch, put

ZIPS = "http://images.cocodataset.org/"
ARCHIVES = {
    "train2017": Archive(f"{ZIPS}zips/train2017.zip",
                         "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
    "val2017": Archive(f"{ZIPS}zips/val2017.zip",
                       "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
    "annotations2017": Archive(f"{ZIPS}annotations/annotations_trainval2017.zip",
                               "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"),
    "train2014": Archive(f"{ZIPS}zips/train2014.zip",
                         "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
    "val2014": Archive(f"{ZIPS}zips/val2014.zip",
                       "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "annotations2014": Archive(f"{ZIPS}annotations/annotations_trainval2014.zip",
                               "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"),
}
COUNTS = {"train2017": 118287, "val2017": 5000, "train2014": 82783, "val2014": 40504}


def coco(root: str | os.PathLike, archives: str | os.PathLike | None = None,
         year: str = "2017") -> Path:
    """`root`/train<year>, val<year> and annotations/instances_*.json; returns `root`."""
    root = Path(root)
    downloads = root / "downloads"
    sweep(downloads)
    for part in ("train", "val"):
        photos = root / f"{part}{year}"
        if not photos.is_dir():
            with extracted(fetch(ARCHIVES[photos.name], root, archives), downloads) as unpacked:
                put(unpacked / photos.name, photos)
        counted(photos, "*.jpg", COUNTS[photos.name])
    wanted = [f"instances_{part}{year}.json" for part in ("train", "val")]
    folder = root / "annotations"
    if not all((folder / name).is_file() for name in wanted):
        with extracted(fetch(ARCHIVES[f"annotations{year}"], root, archives), downloads,
                       lambda name: name.endswith(tuple(wanted))) as unpacked:
            folder.mkdir(exist_ok=True)
            for name in wanted:
                (unpacked / "annotations" / name).replace(folder / name)
    counted(folder, f"instances_*{year}.json", 2)
    return root
