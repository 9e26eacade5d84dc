# SPDX-License-Identifier: Apache-2.0
"""PASCAL VOC 2012 and SBD into one VOC folder: what PASCAL-5i is made of."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.leftovers import sweep
from pipelines.prepare.archives import Archive, counted, extract, extracted, fetch, put
from pipelines.writing import replacing, write_text

VOC = Archive("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
              "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb")
SBD = Archive("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
              "semantic_contours/benchmark.tgz", "82b4d87ceb2ed10f6038a1cba92111cb")
# Of the publishers' files; tests prepare smaller ones.
COUNTS = {"photos": 17125, "masks": 2913, "sbd": 11355, "trainaug": 10582, "all": 12031}


def voc2012(root: str | os.PathLike, archives: str | os.PathLike | None = None) -> Path:
    """`root`/VOCdevkit/VOC2012 with photos, masks and lists; returns its path."""
    folder = Path(root) / "VOCdevkit"
    sweep(Path(root) / "downloads")
    if not folder.is_dir():
        with extracted(fetch(VOC, root, archives), Path(root) / "downloads") as unpacked:
            put(unpacked / "VOCdevkit", folder)
    voc = folder / "VOC2012"
    counted(voc / "JPEGImages", "*.jpg", COUNTS["photos"])
    counted(voc / "SegmentationClass", "*.png", COUNTS["masks"])
    return voc


def sbd(root: str | os.PathLike, archives: str | os.PathLike | None = None) -> Path:
    """SegmentationClassAug and trainaug.txt beside VOC's own: 10,582 photos to train on.

    A photo that VOC has marked keeps VOC's mask, with void along the outlines; the others get
    SBD's, without (that is what the field's SegmentationClassAug holds). Masks that are there
    already are left alone.
    """
    voc = voc2012(root, archives)
    unpacked = Path(root) / "downloads" / "sbd"
    masks = voc / "SegmentationClassAug"
    extract(fetch(SBD, root, archives), unpacked,
            lambda name: "/dataset/cls/" in name or name.endswith(("train.txt", "val.txt")))
    sources = {path.stem: path for path in unpacked.glob("*/dataset/cls/*.mat")}
    if len(sources) != COUNTS["sbd"]:
        raise DataError(f"{unpacked}: {len(sources)} masks of SBD, {COUNTS['sbd']} are expected; "
                        "remove the folder and start again")
    sources |= {path.stem: path for path in (voc / "SegmentationClass").glob("*.png")}
    masks.mkdir(exist_ok=True)
    palette = _palette(next((voc / "SegmentationClass").glob("*.png")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda item: _mask(item[0], item[1], masks, palette),
                        sorted(sources.items()))
        for _ in tqdm(done, desc="masks", total=len(sources), unit="mask"):
            pass
    counted(masks, "*.png", COUNTS["all"])
    lists = voc / "ImageSets" / "Segmentation"
    test = set((lists / "val.txt").read_text(encoding="utf-8").split())
    train = sorted(set(sources) - test)
    if len(train) != COUNTS["trainaug"]:
        raise DataError(f"{masks}: {len(train)} photos outside VOC's val, {COUNTS['trainaug']} are "
                        "expected; are all of VOC's own lists there?")
    write_text(lists / "trainaug.txt", "".join(f"{name}\n" for name in train))
    print(f"{lists / 'trainaug.txt'}: {len(train)} photos")
    return voc


def _palette(path):
    with Image.open(path) as mask:
        return mask.getpalette()


def _mask(name, source, folder, palette):
    """Write one mask, whole or not at all, unless it is there."""
    path = folder / f"{name}.png"
    if path.is_file():
        return
    with replacing(path) as partial:
        if source.suffix == ".png":
            shutil.copyfile(source, partial)
        else:
            picture = Image.fromarray(_sbd_classes(source))
            picture.putpalette(palette)
            picture.save(partial, format="png")


def _sbd_classes(path):
    """uint8 [H, W] of 0..20 from an SBD .mat file."""
    from scipy.io import loadmat  # takes half a second

    try:
        return np.asarray(loadmat(path)["GTcls"][0, 0]["Segmentation"], np.uint8)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path}: no mask of SBD ({error}); remove the folder and start again"
                        ) from None
