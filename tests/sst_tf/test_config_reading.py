# SPDX-License-Identifier: Apache-2.0
"""Files and command lines as they were written before keys got their present names."""

import warnings

import pytest
import yaml

from pipelines.errors import UserError
from sst_tf.config import Config, DataConfig, LossConfig, parse, parser, sha256, to_dict
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model
from tests.export.conftest import make_run


@pytest.mark.parametrize("old, new, value", [("rule", "pair_filter", "area2048"),
                                             ("novel", "novel_policy", "keep")])
def test_old_keys_are_read_with_a_warning_that_names_the_new_one(tmp_path, old, new, value):
    path = tmp_path / "c.yaml"
    path.write_text(f"data: {{{old}: {value}}}")
    with pytest.warns(UserWarning, match=f"c.yaml: data.{old} is now data.{new}"):
        config, _ = parse(parser(), [], str(path))
    assert getattr(config.data, new) == value
    for words in ([f"--data.{old}", value], [f"--data.{old}={value}"]):
        with pytest.warns(UserWarning, match=f"--data.{old} is now --data.{new}"):
            config, _ = parse(parser(), words, None)
        assert getattr(config.data, new) == value
    path.write_text(f"data: {{{old}: {value}, {new}: {value}}}")
    with pytest.raises(UserError, match=f"data.{old} and data.{new}"):
        parse(parser(), [], str(path))


def test_old_run_directories_open(tmp_path):
    """Their record has old keys, lacks later ones and has some that are no more."""
    run = make_run(tmp_path / "run", DataConfig(image_size=65, count=60))
    record = to_dict(Config(data=DataConfig(image_size=65, count=60)))
    record["data"]["rule"] = record["data"].pop("pair_filter")
    record["data"]["novel"] = "keep"
    del record["data"]["novel_policy"], record["data"]["resize"], record["pretrain"]
    record["tuner"] |= {"loss": "balanced", "gone": 3}
    record["gone"] = {"x": 1}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(record))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = Run.open(run.folder).config()
    assert config.data.novel_policy == "keep" and config.tuner.loss == "balanced"
    told = " ".join(str(one.message) for one in caught)
    assert "tuner.gone" in told and "section gone" in told and "data.rule" not in told


def test_the_inner_loss_follows_the_outer_one_unless_set():
    """The paper has one L_sup (Eq. 10)."""
    def inner(**keys):
        config = Config(data=DataConfig(image_size=33))
        config.model.backbone, config.model.weights, config.model.channels = "small", "none", 8
        config.model.train_backbone = True
        config.loss = LossConfig(balanced=keys.pop("balanced"))
        for key, value in keys.items():
            setattr(config.tuner, key, value)
        return build_model(config).settings["tuner"]["loss"], sha256(config)

    assert inner(balanced=False)[0] == "cross_entropy" and inner(balanced=True)[0] == "balanced"
    assert inner(balanced=False, loss="balanced")[0] == "balanced"  # as runs of old say
    assert inner(balanced=False) == inner(balanced=False, loss="cross_entropy")
