# SPDX-License-Identifier: Apache-2.0
"""Which races there are, and who takes part."""

from export.bench_peers.race import Contestant, Race

OURS, THEIRS = "export.bench_peers.ours", "export.bench_peers.theirs"


def _training(title, kind):
    return Race(title, "ms", (
        Contestant("sst-tf", f"{OURS}:training", True, (kind,)),
        Contestant("PyTorch", f"{THEIRS}:training", False, (kind, False)),
        Contestant("PyTorch, torch.compile", f"{THEIRS}:training", False, (kind, True))),
        tolerance=1e-3)


RACES = {
    "training": _training("Training step on kept features", "features"),
    "training_photos": _training("Training step from photos", "image"),
    "segment": Race("`segment`: one support, one query, tuned", "ms", (
        Contestant("sst-tf, SavedModel", f"{OURS}:saved_model", True),
        Contestant("sst-tf, Keras in Python", f"{OURS}:keras", True),
        Contestant("sst-tf, ONNX Runtime", f"{OURS}:onnx", True),
        Contestant("PyTorch", f"{THEIRS}:segment", False, (False,)),
        Contestant("PyTorch, torch.compile", f"{THEIRS}:segment", False, (True,))),
        tolerance=1e-3, calls=3),
    "reading": Race("Reading episodes, mirrored, scaled and turned", "episodes / s", (
        Contestant("sst-tf", f"{OURS}:reading", True, (True,)),
        Contestant("PyTorch DataLoader", f"{THEIRS}:data_loader", False))),
    "reading_plain": Race("Reading episodes, resized alone", "episodes / s", (
        Contestant("sst-tf", f"{OURS}:reading", True, (False,)),
        Contestant("as pytorch-meta reads", f"{THEIRS}:task_loader", False))),
}
