# SPDX-License-Identifier: Apache-2.0
"""The client's command line, where no server is needed; others are tests of the stand-in."""

import cv2
import numpy as np
import pytest

from export import client, graph_decoding, walkthrough
from pipelines import Episode


@pytest.fixture
def photos(tmp_path):
    for name in ("mug.jpg", "mug_mask.png", "shelf.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30), 255, np.uint8))
    return tmp_path


def asked(folder, query, capsys, *options):
    with pytest.raises(SystemExit) as caught:
        client.main(["--support", f"{folder / 'mug.jpg'}={folder / 'mug_mask.png'}", "--query",
                     str(folder / query), *options])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_an_answer_does_not_take_the_place_of_a_mark(photos, capsys):
    before = (photos / "mug_mask.png").read_bytes()
    told = asked(photos, "mug.jpg", capsys, "--output", str(photos))
    assert f"{photos / 'mug_mask.png'} would overwrite a file that was given" in told
    assert (photos / "mug_mask.png").read_bytes() == before


@pytest.mark.parametrize("protocol, kind", [("grpc", "gRPC"), ("rest", "REST")])
def test_no_server_is_told_as_such(photos, capsys, protocol, kind):
    told = asked(photos, "shelf.jpg", capsys, "--protocol", protocol, "--port", "9",
                 "--rest_api_port", "9", "--output", str(photos / "out"))
    assert told.startswith(f"error: no {kind} server answers at localhost:9: start one (sst serve)")
    assert told.count("\n") == 1 and not (photos / "out").exists()


def test_the_walkthrough_s_masks_keep_their_void(tmp_path):
    """The graph takes 1 of {0, 1, 255} for the object, and 255 of {0, 255}."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10], mask[10:12] = 1, 255

    class Source:
        def read_image(self, name):
            return np.zeros((*mask.shape, 3), np.uint8)

        def class_mask(self, name, class_id):
            return mask

    ((_, path),), _ = walkthrough.write_photos(tmp_path, Source(), Episode(0, 1, ("a",), "b", 1))
    read, _ = graph_decoding.mask(path.read_bytes(), 20, "squash")
    shares = [float(np.mean(read.numpy() == value)) for value in (0, 1, 255)]
    np.testing.assert_allclose(shares, [0.65, 0.25, 0.1], atol=0.051)
