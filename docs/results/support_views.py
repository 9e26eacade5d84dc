# SPDX-License-Identifier: Apache-2.0
"""Is a marked photo worth more when it is shown in several views?

    python docs/results/support_views.py RUN --shots 1 --episodes 1000 --second_look 0.3

Each support is tuned whole, mirrored and as the part around the object; the views of all shots are
fused as shots are. Costs time for each marked photo and none for each query. Prints mIoU at 0.5 on
the run's novel classes and what the views add to whole photos alone, 95 % over photos.
"""

import argparse

import numpy as np
from opened import Opened
from paired import counted, gain, miou

from pipelines.reading.transforms import resize_class_mask, resize_image

SETS = {"mirrored": ("whole", "mirrored"), "part": ("whole", "part"), "part alone": ("part",),
        "mirrored, part": ("whole", "mirrored", "part"),
        "mirrored, part, its mirror": ("whole", "mirrored", "part", "part mirrored")}
ROOM = 1.5  # sides of the part over those of the object's box
LEAST = 0.4  # of the photo's sides


class Shown(Opened):
    """A run's model and its marked photos in views, each tuned once."""

    def __init__(self, folder, shots, count):
        super().__init__(folder)
        self.episodes = self.sampler("novel", shots).take(count)
        self.photos = self.bank("novel", self.episodes)
        self._tuned = {}

    def tuned(self, name, class_id, view):
        """(summary [D], score) of one support."""
        key = name, class_id, view
        if key not in self._tuned:
            image = np.asarray(self.data.source.read_image(name))
            mask = np.asarray(self.data.source.class_mask(name, class_id))
            if view.startswith("part"):
                rows, columns = part(mask)
                image, mask = image[rows, columns], mask[rows, columns]
            image = np.asarray(resize_image(image, self.side))
            mask = np.asarray(resize_class_mask(mask, self.side))
            if view.endswith("mirrored"):
                image, mask = image[:, ::-1], mask[:, ::-1]
            features = self.model.inference.embed_photos(image[None])
            kept = self.model.inference.tune(features, mask[None])
            self._tuned[key] = kept.prototype[0].numpy(), float(kept.score[0])
        return self._tuned[key]

    def query(self, name):
        return self.model.inference.embed_features(self.store.read(name)[None])


def part(mask):
    """Rows and columns around an object, in the photo's shape where there is room."""
    found = []
    for axis in (0, 1):
        places = np.flatnonzero((mask == 1).any(axis=1 - axis))
        length, side = places[-1] + 1 - places[0], mask.shape[axis]
        found.append((places[0] + length / 2, length * ROOM / side, side))
    share = min(1.0, max(LEAST, *(one[1] for one in found)))  # one share: the shape stays
    slices = []
    for middle, _, side in found:
        length = max(1, round(share * side))
        start = int(min(max(0, round(middle - length / 2)), side - length))
        slices.append(slice(start, start + length))
    return slices


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--second_look", type=float, default=0.0)
    options = parser.parse_args()
    shown = Shown(options.run, options.shots, options.episodes)
    episodes, size = shown.episodes, (shown.side, shown.side)
    sets = {"whole": ("whole",), **SETS}
    counts = {name: [] for name in sets}
    for number, episode in enumerate(episodes):
        query = shown.query(episode.query)
        truth = shown.photos.mask(episode.query, episode.class_id)
        for name, views in sets.items():
            summaries, scores = zip(*(shown.tuned(one, episode.class_id, view)
                                      for one in episode.support for view in views), strict=True)
            answer = shown.model.inference.segment(
                query, np.stack(summaries)[None], np.array([scores], np.float32), size,
                shown.config.model.fusion, options.second_look)[0].numpy()
            counts[name].append(counted(answer >= 0.5, truth))
        if number % 100 == 99:
            print(number + 1, {name: round(miou(of, [e.class_id for e in episodes[:number + 1]]), 4)
                               for name, of in counts.items()}, flush=True)
    class_ids = [episode.class_id for episode in episodes]
    photos = [(episode.query, *episode.support) for episode in episodes]
    print(f"{options.shots}-shot, second look {options.second_look:g}, whole: "
          f"{miou(counts['whole'], class_ids):.4f}")
    for name in SETS:
        more, low, high = gain(counts[name], counts["whole"], class_ids, photos)
        print(f"{name}: {more:+.4f} ({low:+.4f} to {high:+.4f})")


if __name__ == "__main__":
    main()
