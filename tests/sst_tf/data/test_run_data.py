# SPDX-License-Identifier: Apache-2.0
"""What a run trains on and is tested on."""

from collections import Counter
from pathlib import Path

from pipelines import open_source
from sst_tf.config import Config, DataConfig
from sst_tf.data import run_data
from tests.pipelines.tiny_voc import write_tiny_voc


def test_splits_that_share_photos_read_each_mask_once(tmp_path, monkeypatch):
    root = write_tiny_voc(tmp_path / "tiny")
    (root / "ImageSets/Segmentation/both.txt").write_text(
        "".join(f"p{number:02d}\n" for number in range(8, 24)))
    source, read = open_source("voc", root), Counter()
    plain = source.class_masks
    monkeypatch.setattr(source, "class_masks", lambda i: read.update([i]) or plain(i))
    monkeypatch.setattr(source, "files", lambda i: (Path("nowhere"),), raising=False)
    monkeypatch.setattr(run_data, "open_source", lambda *args, **options: source)
    data = run_data.open_data(Config(data=DataConfig(
        dataset="voc", root=str(root), novel_classes=["fork"], train_split="train",
        novel_split="both")))
    assert set(read.values()) == {1} and len(read) == 24
    assert {p.image_id for p in data.novel} == {"p09", "p13", "p17", "p21"}
    assert {p.image_id for p in data.train + data.validation} < {f"p{n:02d}" for n in range(16)}
