# SPDX-License-Identifier: Apache-2.0
"""Files from strangers run no code and fill no memory; docs/security.md tells the truth."""

import io
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.errors import DataError, UserError
from pipelines.reading.arrays import open_arrays
from sst_tf.config import DataConfig
from sst_tf.photos.class_card import ClassCard
from sst_tf.presets.preset import Preset
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"


class Harmful:
    """An object whose unpickling writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "harm")


def test_the_code_unpickles_nothing():
    """Loaders of pickles by name; Ray and TensorFlow pickle between their own processes."""
    words = re.compile(r"\b(c?pickle|dill|joblib|shelve|marshal|torch\.load"
                       r"|yaml\.(full_|unsafe_)?load|allow_pickle=True|safe_mode=False|enable_unsafe_deserialization)\b")
    found = [f"{path.relative_to(ROOT)}:{number}"
             for package in ("pipelines", "sst_tf", "export")
             for path in (ROOT / package).rglob("*.py")
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
             if words.search(line)]
    assert not found


@pytest.mark.parametrize("load", [ClassCard.load, Preset.load], ids=["card", "preset"])
def test_objects_in_arrays_are_refused(load, tmp_path):
    path, harm = tmp_path / "a.npz", tmp_path / "harm"
    np.savez(path, facts=np.array([Harmful(harm)], object), backbone=np.zeros(1),
             prototype=np.array([Harmful(harm)], object))
    with pytest.raises(DataError, match=r"no class card|no preset"):
        load(path)
    assert not harm.exists()


def bomb(path, megabytes):
    """An .npz whose array unpacks to so many megabytes of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {
        "descr": "|u1", "fortran_order": False, "shape": (megabytes * 10**6,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(
            "facts.npy", "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for _ in range(megabytes):
            file.write(bytes(10**6))


@pytest.mark.parametrize("load", [ClassCard.load, Preset.load], ids=["card", "preset"])
def test_arrays_that_unpack_without_end(load, tmp_path):
    bomb(tmp_path / "a.npz", 300)
    assert (tmp_path / "a.npz").stat().st_size < 10**6
    with pytest.raises(DataError, match=r"a.npz: unpacks to 300 MB; at most 256"):
        load(tmp_path / "a.npz")


def test_arrays_within_the_limit_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with open_arrays(tmp_path / "a.npz", 1000) as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]


def test_a_model_with_code_in_it_is_refused(tmp_path):
    """Keras' safe mode: a layer of Python code is not built."""
    run = make_run(tmp_path / "run", DataConfig(image_size=65, count=60))
    harm = str(tmp_path / "harm")
    lambdas = keras.Sequential([keras.layers.Lambda(
        lambda x: (open(harm, "w").close(), x)[1])])
    lambdas.save(run.model_path)
    with pytest.raises(UserError, match="cannot be loaded .*[Ll]ambda"):
        Run.open(run.folder).model()
    assert not Path(harm).exists()


def test_a_name_is_no_path(tmp_path):
    """What a class of a stranger's card is called leads to no file."""
    from sst_tf import predict

    class Fake:
        def set_support(self, photos, marks, name):
            return ClassCard(name, np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32),
                             *[np.ones(1, np.float32)] * 2, b"", ("mask",), "0",
                             cells=np.ones(1, np.float32))

    targets = predict._targets(tmp_path / "in" / "card.npz", ["../../up", "mug"])
    predict._tune(Fake(), "../../up", [("a", "b")], targets["../../up"])
    assert [path.name for path in tmp_path.rglob("*.npz")] == ["card__up.npz"]
    assert [path.parent.name for path in tmp_path.rglob("*.npz")] == ["in"]


def test_a_name_on_two_lines_is_refused(tmp_path):
    ones = np.ones((1, 4), np.float32), np.ones((1, 4), np.float32), *[np.ones(1, np.float32)] * 2
    for name in ("mug\nplate", "mug\x1b[2J"):
        path = ClassCard(name, *ones, b"", ("mask",), "0").save(tmp_path / "a.npz")
        with pytest.raises(DataError, match="control characters"):
            ClassCard.load(path)
    # A joiner of Persian words and of emoji, a wide space: as people write.
    for name in ("größte Tasse", "کتاب\u200cها", "👩\u200d🍳", "コーヒー\u3000カップ"):
        card = ClassCard(name, *ones, b"", ("mask",), "0").save(tmp_path / "b.npz")
        assert ClassCard.load(card).name == name


# ---- the page ------------------------------------------------------------------------------------


def rows():
    """(who and what, what might happen, defence, tests) of the page's tables."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines
             if line.startswith("|") and not set(line) <= set("|-: ")]
    return [row for row in cells if row[-1] != "test"]


def test_each_row_names_tests_that_exist():
    found = rows()
    assert len(found) > 20
    for row in found:
        names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[-1])
        assert names or row[-1].startswith("none: "), row
        for file, test in names:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.M), (
                f"{file} has no {test}")


def test_the_limits_it_tells_are_those_of_the_code():
    from export import guards
    from pipelines.reading import arrays, files

    text = PAGE.read_text(encoding="utf-8")
    for number in (files.MAX_PIXELS, guards.MAX_PIXELS, arrays.LIMIT):
        assert f"{number // 10**6} million" in text or f"{number // 10**6} MB" in text, number
