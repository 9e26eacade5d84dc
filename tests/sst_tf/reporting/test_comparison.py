# SPDX-License-Identifier: Apache-2.0
"""Tables of runs side by side."""

from types import SimpleNamespace

from sst_tf.reporting import results_text
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


def test_each_untrained_answer_has_a_row_by_whose_it_is():
    """Runs of two backbones: the first one's prototype is not the others'."""
    same = {"all_foreground": {}, "tuned": {"threshold": CHOSEN}}
    rows = table([evaluation("one", prototype={}, **same),
                  evaluation("two", prototype={"miou": 0.4}, **same),
                  evaluation("three", prototype={}, **same)]).rows
    assert [row[:2] for row in rows[:3]] == [
        ("all foreground", "0.500"), ("prototype (one, three)", "0.500"),
        ("prototype (two)", "0.400")]
    assert {len(row) for row in rows} == {len(HEAD)}


def test_a_protocol_of_several_runs_shows_their_mean():
    """What such a protocol defines; intersections of all runs pooled give another number."""
    protocol = {"shots": 1, "episodes": 10, "photos": 9, "image_size": 41, "scoring": "original"}
    entry = {"miou": 0.5, "miou_interval": [0.48, 0.52], "fb_iou": 0.7, "threshold": {
        **CHOSEN, "fb_iou_at_chosen": 0.72}}
    runs = {"miou": [0.4, 0.5], "mean": 0.45, "sd": 0.07, "miou_at_chosen": [0.5, 0.6],
            "mean_at_chosen": 0.55, "sd_at_chosen": 0.071}
    files = [{"protocol": {"name": name, **protocol}, "scores": {"tuned": {**entry, **more}}}
             for name, more in (("hsnet", {}), ("repri", {"runs": runs}))]
    head, one, several, _, note = results_text.protocols_table(files).splitlines()
    assert len(head) == len(one) == len(several)
    assert "0.500" in one and "0.520" in one and "±" not in one
    assert "0.450 ± 0.070" in several and "0.550 ± 0.071" in several
    assert several.split().count("0.500") == 1  # of the interval, no longer the pooled score
    assert note.startswith("mIoU with ±: mean of the protocol's runs")
    assert "±" not in results_text.protocols_table(files[:1])


def test_a_class_without_iou_is_a_dash():
    scores = {"tuned": {"miou": 0.5, "fb_iou": 0.7, "episode_iou": 0.5, "area_ratio": 1.0,
                        "per_class": {"cup": {"iou": 0.5, "episodes": 2},
                                      "fork": {"iou": None, "episodes": 1}}}}
    text = results_text.table({"scores": scores, "support_iou": {"before": 0.6, "after": 0.7},
                               "gauges": {"relative_update": 0.1}})
    cup, fork = (next(line.split() for line in text.splitlines() if line.startswith(name))
                 for name in ("cup", "fork"))
    assert (cup, fork) == (["cup", "0.500", "2"], ["fork", "-", "1"])
