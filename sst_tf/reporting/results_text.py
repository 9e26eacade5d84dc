# SPDX-License-Identifier: Apache-2.0
"""Results files as tables to be printed."""

from collections.abc import Sequence


def table(results: dict) -> str:
    """Rows of a results file as aligned text."""
    head = f"{'':16}{'mIoU':>7}{'95 % interval':>17}{'chosen':>9}{'mIoU there':>12}" \
           f"{'FB-IoU':>8}{'episode':>9}{'area':>7}"
    lines = [head]
    for name, entry in results["scores"].items():
        low, high = entry.get("miou_interval", (float("nan"),) * 2)
        chosen = entry.get("threshold")
        at = f"{chosen['chosen']:9.2f}{chosen['miou_at_chosen']:12.3f}" if chosen else " " * 21
        lines.append(f"{name:16}{entry['miou']:7.3f}{f'{low:.3f} .. {high:.3f}':>17}{at}"
                     f"{entry['fb_iou']:8.3f}{entry['episode_iou']:9.3f}{entry['area_ratio']:7.2f}")
    kinds = list(results["scores"])
    for name, entry in results["scores"].items():
        if several := entry.get("runs"):
            lines.append(f"{name}: mean of {len(several['miou'])} runs {several['mean']:.3f}, "
                         f"standard deviation {several['sd']:.3f}")
    lines += ["", f"{'IoU by class':16}" + "".join(f"{k:>16}" for k in kinds) + "  episodes"]
    for name in results["scores"]["tuned"]["per_class"]:
        rows = [results["scores"][k]["per_class"][name] for k in kinds]
        lines.append(f"{name:16}" + "".join(f"{_iou(r['iou']):>16}" for r in rows)
                     + f"{rows[0]['episodes']:10d}")
    iou, moved = results["support_iou"], results["gauges"]["relative_update"]
    lines += ["", f"support IoU before tuning {iou['before']:.3f}, after {iou['after']:.3f}; "
                  f"relative update {moved:.4f}",
              "area: predicted over true foreground at 0.5; chosen: threshold from base classes"]
    found = results.get("presence")
    for part in ("base", "novel"):
        if found and (rates := found[part]):
            lines.append(f"{part} photos called present (score from {found['threshold']:.2f}): "
                         f"{rates['answered_where_present']:.0%} with the class, "
                         f"{rates['answered_where_absent']:.0%} without; AUC {rates['auc']:.2f}")
    return "\n".join(lines)


def points_text(shots: int, threshold: float, presence: dict | None) -> str:
    """What base classes chose for k shots, in a sentence.

    Args:
        threshold: probability from which a pixel is foreground.
        presence: of `evaluate_run.presence_rates`.
    """
    text = f"{shots}-shot: foreground from probability {threshold:.2f} on"
    if presence is not None:
        text += (f", present from score {presence['threshold']:.2f} on (AUC "
                 f"{presence['base']['auc']:.2f})")
    return text + "; chosen on held-out photos of base classes"


def protocols_table(found: Sequence[dict]) -> str:
    """A line a results file: the tuned model under protocol after protocol, as aligned text."""
    lines = [f"{'protocol':10}{'shots':>6}{'episodes':>10}{'photos':>8}{'pixels':>8}"
             f"{'scored at':>11}{'mIoU at 0.5':>15}{'95 % interval':>18}{'FB-IoU':>8}"
             f"{'chosen':>8}{'mIoU there':>15}{'95 % interval':>18}{'FB-IoU':>8}"]
    for one in found:
        protocol, entry = one["protocol"], one["scores"]["tuned"]
        at = entry["threshold"]
        # Files of earlier versions have no FB-IoU at the chosen threshold.
        there = f"{at['fb_iou_at_chosen']:.3f}" if "fb_iou_at_chosen" in at else "-"
        lines.append(
            f"{protocol['name']:10}{protocol['shots']:6d}{protocol['episodes']:10d}"
            f"{protocol['photos']:8d}{protocol['image_size']:8d}{protocol['scoring']:>11}"
            f"{_miou(entry, entry['miou'], ''):>15}{_span(entry['miou_interval']):>18}"
            f"{entry['fb_iou']:8.3f}{at['chosen']:8.2f}"
            f"{_miou(entry, at['miou_at_chosen'], '_at_chosen'):>15}{_span(at['interval']):>18}"
            f"{there:>8}")
    lines.append("scored at: the network's size or the photo's own; chosen: threshold from base "
                 "classes, of each protocol and number of shots")
    if any("runs" in one["scores"]["tuned"] for one in found):
        lines.append("mIoU with ±: mean of the protocol's runs and their standard deviation; "
                     "intervals and FB-IoU are of all runs' episodes together")
    return "\n".join(lines)


def _miou(entry, pooled, point):
    """Of one run; of several their mean, as protocols of several runs define it."""
    runs = entry.get("runs") or {}
    if f"mean{point}" not in runs:
        return f"{pooled:.3f}"
    return f"{runs[f'mean{point}']:.3f} ± {runs[f'sd{point}']:.3f}"


def _iou(value):
    """Of a class that has neither a true nor an answered pixel there is none."""
    return "-" if value is None else f"{value:.3f}"


def _span(interval):
    return f"{interval[0]:.3f} .. {interval[1]:.3f}"
