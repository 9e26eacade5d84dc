# SPDX-License-Identifier: Apache-2.0
"""Run where label-studio-sdk is installed: it checks our predictions, and writes an export.

python label_studio_owner.py FOLDER, which holds label_studio.{json,xml} and masks.npz, the masks
by "TASK/CLASS".
"""

import json
import sys
from pathlib import Path

import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue

folder = Path(sys.argv[1])
interface = LabelInterface((folder / "label_studio.xml").read_text(encoding="utf-8"))
interface.validate()
assert len(interface.controls) == len(interface.objects) == 1
tasks = json.loads((folder / "label_studio.json").read_text(encoding="utf-8"))
masks, regions = np.load(folder / "masks.npz"), 0
for number, task in enumerate(tasks):
    assert interface.validate_task({"data": task["data"]})
    prediction, = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
    PredictionValue(**prediction)
    for region in prediction["result"]:
        size = region["original_height"], region["original_width"]
        label, = region["value"]["brushlabels"]
        alpha = decode_rle(region["value"]["rle"]).reshape(*size, 4)[..., 3]
        assert (alpha == 255 * masks[f"{number}/{label}"]).all()
        regions += 1
    wrong = json.loads(json.dumps(prediction).replace("brushlabels", "polygonlabels"))
    assert not wrong["result"] or not interface.validate_prediction(wrong)  # it does look
assert regions == len(masks)

# As a person's export: the SDK's own bytes, a name as uploads have it.
(folder / "export.json").write_text(json.dumps([{
    "id": number, "data": {"image": f"/data/upload/7/0a1b2c3d-{Path(name).name}".replace(" ", "_")},
    "annotations": [{"id": number, "was_cancelled": False, "result": [{
        "id": label, "type": "brushlabels", "from_name": "tag", "to_name": "image",
        "original_height": masks[key].shape[0], "original_width": masks[key].shape[1],
        "image_rotation": 0, "value": {"format": "rle", "brushlabels": [label], "rle": mask2rle(
            masks[key].astype(np.uint8) * 255)}}
        for key in masks.files for at, label in [key.split("/", 1)] if at == str(number)]}]}
    for number, task in enumerate(tasks) for name in [task["data"]["image"]]]), encoding="utf-8")
print(f"{len(tasks)} tasks, {regions} regions")
