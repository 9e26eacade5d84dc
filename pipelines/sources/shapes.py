# SPDX-License-Identifier: Apache-2.0
"""The embedded data set: twenty patterned shapes, for machines without any photos.

A class is a shape with a pattern (a striped ring, a checked heart), as animals and things are told
by form and coat. Colours are drawn at random for every object and every piece of clutter, so that
colour gives no class away; scale, rotation, shear and mirroring vary, objects of other classes
stand beside and before each other. Each picture is a pure function of (seed, number).
"""

import functools

import cv2
import numpy as np

from pipelines.errors import DataError, check_whole
from pipelines.sources.masks import IndexMasks

OVERSAMPLING = 2  # pictures are drawn at twice their size, for smooth edges
LEAST_SHARE = 0.01  # of the picture that each object must show
MOST_TURN = 0.6  # radians, of shapes and of patterns, each on its own


def _turn(radii, start=0.0):
    """Points at evenly spaced angles with the given radii."""
    angles = start + np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.asarray(radii)[:, None]


def _arc(radius, start, end, count=24, centre=(0.0, 0.0)):
    angles = np.linspace(start, end, count)
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radius + np.array(centre)


def _points(*values):
    return np.array(values, np.float64).reshape(-1, 2)


def _heart():
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t)
                                            - 2 * np.cos(3 * t) - np.cos(4 * t))], 1) / 16


def _outlines():
    """Contours by class in a box of about -1..1; a contour inside another is a hole."""
    circle = _turn(np.ones(48))
    return {
        # fold 0
        "ring": [circle, 0.5 * circle],
        "heart": [_heart()],
        "arrow": [_points(-1, -.3, .1, -.3, .1, -.8, 1, 0, .1, .8, .1, .3, -1, .3)],
        "tee": [_points(-.9, -.9, .9, -.9, .9, -.35, .28, -.35, .28, 1, -.28, 1, -.28, -.35,
                        -.9, -.35)],
        "star": [_turn([1, .42] * 5)],
        # fold 1
        "disc": [circle],
        "zigzag": [_points(-1, -.9, .35, -.9, .35, -.05, 1, -.05, 1, .9, -.35, .9, -.35, .05,
                           -1, .05)],
        "ell": [_points(-.7, -1, -.1, -1, -.1, .4, .8, .4, .8, 1, -.7, 1)],
        "bowtie": [_points(-1, -.75, 0, -.15, 1, -.75, 1, .75, 0, .15, -1, .75)],
        "key": [np.concatenate([_arc(.5, .45, 2 * np.pi - .45, centre=(-.5, 0)),
                                _points(.35, -.2, .35, -.6, .65, -.6, .65, -.2, 1, -.2, 1, .2,
                                        -.05, .2)]),
                0.22 * circle + np.array([-.55, 0])],
        # fold 2
        "square": [_points(-.8, -.8, .8, -.8, .8, .8, -.8, .8)],
        "crescent": [np.concatenate([_arc(1, .7, 2 * np.pi - .7),
                                     _arc(.75, 2 * np.pi - 1.05, 1.05, centre=(.4, 0))])],
        "cross": [_points(-.3, -1, .3, -1, .3, -.3, 1, -.3, 1, .3, .3, .3, .3, 1, -.3, 1, -.3, .3,
                          -1, .3, -1, -.3, -.3, -.3)],
        "gear": [_turn([1, 1, .68, .68] * 8), 0.3 * circle],
        "house": [_points(-.75, -.1, 0, -1, .75, -.1, .75, .9, .25, .9, .25, .3, -.25, .3,
                          -.25, .9, -.75, .9)],
        # fold 3
        "triangle": [_points(0, -1, .95, .8, -.95, .8)],
        "droplet": [np.concatenate([_arc(.65, -.35, np.pi + .35, centre=(0, .35)),
                                    _points(0, -1.05)])],
        "horseshoe": [np.concatenate([_arc(1, np.pi, 2 * np.pi), _points(1, .9, .5, .9),
                                      _arc(.5, 0, -np.pi), _points(-.5, .9, -1, .9)])],
        "aitch": [_points(-.9, -1, -.4, -1, -.4, -.25, .4, -.25, .4, -1, .9, -1, .9, 1, .4, 1,
                          .4, .25, -.4, .25, -.4, 1, -.9, 1)],
        "wedge": [np.concatenate([_arc(1, .55, 2 * np.pi - .55, 40), _points(0, 0)])],
    }


class ShapesSource(IndexMasks):
    """Procedural pictures of 2 to 4 objects of different classes.

    Args:
        image_size: side in pixels.
        count: number of pictures.
        seed: another seed, another data set.
    """

    name = "shapes"

    def __init__(self, image_size: int = 128, count: int = 2000, seed: int = 0) -> None:
        check_whole(18, image_size=image_size)  # in less there is no room for two objects
        check_whole(1, count=count)
        check_whole(0, seed=seed)
        self.classes = tuple(OUTLINES)
        self.image_size, self.count, self.seed = image_size, count, seed
        self.root = f"seed {seed}"
        # Drawing costs more than keeping: a picture and its mask are 4 bytes a pixel.
        self._draw = functools.lru_cache(maxsize=4096)(self._picture)

    def image_ids(self, split: str) -> list[str]:
        """All pictures; "train" and "val" are the first four fifths and the rest."""
        cut = self.count * 4 // 5
        numbers = {"all": range(self.count), "train": range(cut), "val": range(cut, self.count)}
        if split not in numbers:
            raise DataError(f"shapes: no split {split!r}; known: {', '.join(numbers)}")
        return [f"shapes-{i:06d}" for i in numbers[split]]

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [S, S, 3] RGB."""
        return self._draw(self._number(image_id))[0].copy()

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [S, S]: 0 background, 1..20 the class whose pixels are seen."""
        return self._draw(self._number(image_id))[1].copy()

    def check(self, image_id: str) -> None:
        """Raise a `DataError` for an id that is none; a drawn picture is always whole."""
        self._number(image_id)

    def _number(self, image_id):
        _, _, digits = image_id.partition("shapes-")
        if not digits.isdigit() or int(digits) >= self.count:
            raise DataError(f"shapes: no picture {image_id!r}; shapes-000000 to "
                            f"shapes-{self.count - 1:06d} are known")
        return int(digits)

    def _picture(self, number):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, number])))
        while True:
            image, mask, drawn = _compose(rng, self.image_size * OVERSAMPLING)
            # The mask is sampled, never blended: values stay class numbers.
            index = np.ascontiguousarray(mask[OVERSAMPLING // 2::OVERSAMPLING,
                                              OVERSAMPLING // 2::OVERSAMPLING])
            areas = np.bincount(index.ravel(), minlength=len(OUTLINES) + 1)
            if all(areas[c] >= LEAST_SHARE * index.size for c in drawn):
                break  # otherwise something is hidden: draw again
        side = self.image_size
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.3:
            image = cv2.GaussianBlur(image, (3, 3), 0)
        return image, index


def _compose(rng, side):
    image, mask = _background(rng, side), np.zeros((side, side), np.uint8)
    drawn = rng.choice(len(OUTLINES), rng.integers(2, 5), replace=False) + 1
    names = tuple(OUTLINES)
    for class_id in drawn:
        stamp = np.zeros((side, side), np.uint8)
        contours, centre = _pose(rng, OUTLINES[names[class_id - 1]], side)
        cv2.fillPoly(stamp, contours, 255, cv2.LINE_8, shift=4)
        _paint(rng, image, stamp, PATTERNS[class_id - 1], centre)
        mask[stamp > 0] = class_id
    return image, mask, drawn


def _pose(rng, outline, side):
    """Scale, shear, mirror, turn and move a shape: fixed-point contours for OpenCV, centre."""
    size = rng.uniform(0.15, 0.32) * side
    angle = rng.uniform(-MOST_TURN, MOST_TURN)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    aspect = rng.uniform(0.8, 1.25)
    shear = np.array([[aspect, rng.uniform(-0.25, 0.25)], [0, 1 / aspect]])
    mirror = np.diag([rng.choice([-1, 1]), 1])
    centre = rng.uniform(0.16, 0.84, 2) * side
    return [np.round(((c @ mirror @ shear.T @ turn.T) * size + centre) * 16).astype(np.int32)
            for c in outline], centre


def _background(rng, side):
    """A pattern under clutter: blobs and bars of no class, in patterns of no class."""
    image = np.zeros((side, side, 3), np.uint8)
    _paint(rng, image, np.full((side, side), 255, np.uint8), _clutter(rng))
    for _ in range(rng.integers(3, 7)):
        stamp = np.zeros((side, side), np.uint8)
        at = tuple(int(v) for v in rng.integers(0, side, 2))
        if rng.random() < 0.5:
            end = tuple(int(v) for v in rng.integers(0, side, 2))
            cv2.line(stamp, at, end, 255, int(rng.integers(2, side // 12)))
        else:
            blob = _turn(rng.uniform(0.3, 1.0, 9)) * rng.uniform(0.03, 0.16) * side + np.array(at)
            cv2.fillPoly(stamp, [np.round(blob).astype(np.int32)], 255)
        _paint(rng, image, stamp, _clutter(rng))
    return image


def _paint(rng, image, stamp, pattern, centre=(0.0, 0.0)):
    """Fill a stamp, [side, side], with a pattern in a random colour and a lighter one.

    The mean of the two is kept apart from what the stamp covers, so that people can see it; they
    are turned, scaled a little and grained at random.
    """
    side = image.shape[0]
    left, top, width, height = cv2.boundingRect(stamp)
    box = np.s_[top:top + height, left:left + width]
    inside = stamp[box] > 0
    behind = image[box][inside].mean(0) if inside.any() else np.zeros(3)
    while True:
        first = rng.uniform(0, 170, 3).astype(np.float32)
        second = first + rng.uniform(50, 85, 3).astype(np.float32)
        if np.abs((first + second) / 2 - behind).max() > 50:
            break
    period, blend = pattern
    period = np.float32(period * side * rng.uniform(0.85, 1.2))
    angle = rng.uniform(-MOST_TURN, MOST_TURN)
    x = (_row(side)[None, left:left + width] - np.float32(centre[0])) / period
    y = (_row(side)[top:top + height, None] - np.float32(centre[1])) / period
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    share = blend(x * cosine + y * sine, y * cosine - x * sine).astype(np.float32)
    colours = first + share[..., None] * (second - first)
    if inside.size:  # a stamp outside the picture has nothing to paint
        coarse = rng.standard_normal((height // 2 + 1, width // 2 + 1), np.float32) * 8
        colours = colours + np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:height, :width, None]
    image[box][inside] = np.clip(colours, 0, 255).astype(np.uint8)[inside]


@functools.lru_cache(maxsize=4)
def _row(side):
    return np.arange(side, dtype=np.float32)


def _patterns():
    """By class: the period, as a share of the side, and the second colour's share at (u, v).

    u and v are in periods, from the object's centre, turned with the pattern.
    """
    def wave(u, v):
        return np.sin(2 * np.pi * v) / 4

    def tooth(v):
        return np.abs(v % 1 - 0.5)

    return (
        (.055, lambda u, v: (u % 1 < .5) | (v > 1e9)),  # stripes
        (.10, lambda u, v: (u % 1 < .5) ^ (v % 1 < .5)),  # checks
        (.075, lambda u, v: (u % 1 - .5)**2 + (v % 1 - .5)**2 < .09),  # dots
        (.085, lambda u, v: (u % 1 < .25) | (v % 1 < .25)),  # grid
        (.50, lambda u, v: (u > 0) | (v > 1e9)),  # halves
        (.09, lambda u, v: np.hypot(u, v) % 1 < .5),  # rings
        (.10, lambda u, v: (u + tooth(v)) % 1 < .5),  # zigzags
        (.15, lambda u, v: (u % 1 < .5) ^ (v % 1 < .5)),  # coarse checks
        (.10, lambda u, v: (u % 1 < .2) | (v > 1e9)),  # thin lines
        (.30, lambda u, v: np.arctan2(v, u) * (4 / np.pi) % 2 < 1),  # spokes
        (.13, lambda u, v: (u % 1 < .5) | (v > 1e9)),  # wide stripes
        (.14, lambda u, v: (u % 1 - .5)**2 + (v % 1 - .5)**2 < .12),  # large dots
        (.11, lambda u, v: (u % 1 + v % 1) < 1),  # triangles
        (.10, lambda u, v: (u + wave(u, v)) % 1 < .5),  # waves
        (.11, lambda u, v: (v % 1 < .2) | ((u + .5 * (np.floor(v) % 2)) % 1 < .15)),  # bricks
        (.10, lambda u, v: (u + v) * 0 + 1),  # plain
        (.12, lambda u, v: ((u % 1 < .3) & (v % 1 < .8)) | ((v % 1 < .3) & (u % 1 < .8))),  # angles
        (.16, lambda u, v: np.hypot(u % 1 - .5, v % 1 - .5) * 5 % 1.6 < .8),  # targets
        (.12, lambda u, v: (np.abs(u % 1 - .5) + np.abs(v % 1 - .5) < .3)),  # diamonds
        (.09, lambda u, v: (np.abs(u % 1 - .5) < .12) | (np.abs((u + v) % 1 - .5) < .12)),  # hatch
    )


def _clutter(rng):
    """A pattern of no class: slow waves of a random kind."""
    a, b, c = rng.uniform(0.3, 1.5, 3)

    def blend(u, v):
        return 0.5 + 0.3 * np.sin(a * u + 2 * np.sin(b * v)) + 0.2 * np.sin(c * (u + v))

    return rng.uniform(.03, .12), blend


OUTLINES = _outlines()
PATTERNS = _patterns()
