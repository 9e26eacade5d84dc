# SPDX-License-Identifier: Apache-2.0
"""Settings of Keras under which numbers would be others are told in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("settings, backend, told", [
    ({"floatx": "float16"}, None, "Keras' floatx is 'float16'; expected float32: set KERAS_BACK"),
    ({"image_data_format": "channels_first"}, None, "Keras' image_data_format is 'channels_firs"),
    ({}, "numpy", "Keras is set to a backend that needs jax, which is not here; this package"),
    ({}, "torch", "Keras is set to a backend that needs torch, which is not here; this package")])
def test_other_settings_are_refused(tmp_path, settings, backend, told):
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "sst_tf.train", "shapes_small", "--run_dir", str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "KERAS_HOME": str(tmp_path), **(
            {"KERAS_BACKEND": backend} if backend else {})})
    assert done.returncode == 2 and f"error: {told}" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run" / "config.yaml").exists()
