# SPDX-License-Identifier: Apache-2.0
"""The throughput benchmark runs, and compares pictures before it compares times."""

import pytest

from pipelines import bench_reading, reading_rates


def test_it_prints_ratios(shared, capsys):
    pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")
    bench_reading.main([str(shared / "data" / "mini80"), "--rounds", "1", "--episodes", "16",
                        "--batch", "4", "--image_size", "97", "--workers", "1"])
    printed = capsys.readouterr().out
    assert "episodes / floor:" in printed and "episodes / DataLoader:" in printed


def test_pictures_that_differ_stop_it(shared, monkeypatch):
    monkeypatch.setattr(reading_rates, "pillow_picture",
                        lambda photo, mask, class_id, size, numbers: (0, 1))
    with pytest.raises(AssertionError, match="Pillow and ours differ"):
        bench_reading.main([str(shared / "data" / "mini80"), "--rounds", "1", "--episodes", "8",
                    "--no_torch"])
