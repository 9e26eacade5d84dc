# SPDX-License-Identifier: Apache-2.0
"""The throughput benchmark runs, and compares pictures before it compares times."""

import numpy as np
import pytest

from pipelines import bench_reading, reading_rates


def test_it_prints_ratios(shared, capsys):
    pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")
    bench_reading.main([str(shared / "data" / "pascal_mini"), "--rounds", "1", "--episodes", "16",
                        "--batch", "4", "--image_size", "65", "--workers", "1"])
    printed = capsys.readouterr().out
    assert all(f"{name} / floor:" in printed for name in ("folder", "records", "DataLoader"))


def test_records_stand_beside_folders(shared, capsys):
    bench_reading.main([str(shared / "data" / "pascal_mini"), "--rounds", "1", "--episodes", "16",
                        "--batch", "4", "--image_size", "65", "--workers", "1", "--no_torch"])
    printed = capsys.readouterr().out
    assert "folder / floor:" in printed and "records / floor:" in printed


def test_pictures_that_differ_stop_it(shared, monkeypatch):
    monkeypatch.setattr(reading_rates, "pillow_picture",
                        lambda photo, mask, class_id, size, numbers: (
                            np.zeros((size, size, 3), np.uint8), np.ones((size, size), np.uint8)))
    with pytest.raises(AssertionError, match="Pillow and ours differ"):
        bench_reading.main([str(shared / "data" / "mini80"), "--rounds", "1", "--episodes", "8",
                    "--no_torch"])
