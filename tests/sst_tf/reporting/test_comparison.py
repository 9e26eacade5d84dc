# SPDX-License-Identifier: Apache-2.0
"""Tables of runs side by side."""

from types import SimpleNamespace

from sst_tf.reporting.comparison import HEAD, table

CHOSEN = {"chosen": 0.4, "miou_at_chosen": 0.52, "interval": [0.5, 0.54],
          "area_ratio_at_chosen": 1.1}


def evaluation(name, **kinds):
    scores = {kind: {"miou": 0.5, "miou_interval": [0.48, 0.52], "area_ratio": 0.9, **more}
              for kind, more in kinds.items()}
    return SimpleNamespace(name=name, results={
        "scores": scores, "support_iou": {"before": 0.6, "after": 0.7}})


def test_answers_that_no_threshold_was_chosen_for_have_empty_cells():
    """A preset keeps the thresholds of tuned answers alone, and train.init keeps these."""
    rows = table([evaluation("kept", tuned={"threshold": CHOSEN}, untuned={}),
                  evaluation("own", tuned={"threshold": CHOSEN}, untuned={"threshold": CHOSEN})
                  ]).rows
    assert [row[0] for row in rows] == ["kept", "kept, step left out (diagnostic)", "own",
                                        "own, step left out (diagnostic)"]
    assert {len(row) for row in rows} == {len(HEAD)}
    assert rows[1][3:] == ("", "", "", "0.90", "", "")
    assert rows[3][3:] == ("0.520", "0.500 .. 0.540", "0.40", "0.90", "1.10", "")
