# SPDX-License-Identifier: Apache-2.0
"""The sections of a configuration: every key, its type, its default.

A field is of one of three kinds, which decide what it adds to a configuration's identity
(`sst_tf.config.identity`): a number counts by its value, a file by what is in it, a place (where
things lie, how many share the work) not at all. `least`, `above`, `below` and `most` bound a value,
or each of a list.

A key that came after runs were made is `added`: at its default, which is what those runs did, it
does not count, so that they stay what they are.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Backbone = Literal["resnet50", "vgg16", "resnet18", "small"]
BACKBONES = get_args(Backbone)
# Keys of `model` that say how a trained model is asked; its training knows nothing of them.
ANSWERING = ("fusion", "second_look")
HELD_OUT = ("split_seed", "validation_share")  # keys of `data` that choose the validation photos


def _file(default: str | None, beside: tuple[str, ...] = (), added: bool = False,
          named: bool = False) -> Any:
    """A file that changes numbers, and the names of files beside it that are read with it.

    Of a folder its `beside` count alone; where it is `named`, a name may stand in its place.
    """
    return field(default=default, metadata={"kind": "file", "beside": beside, "added": added,
                                            "named": named})


def _place(default: Any, **bounds: float) -> Any:
    return field(default=default, metadata={"kind": "place", **bounds})


def _number(default: Any, **bounds: float) -> Any:
    return field(default=default, metadata={"kind": "number", **bounds})


def _added(default: Any, **bounds: float) -> Any:
    return field(default=default, metadata={"kind": "number", "added": True, **bounds})


def _numbers(default: list, **bounds: float) -> Any:
    return field(default_factory=lambda: list(default), metadata={"kind": "number", **bounds})


@dataclass
class JoinConfig:
    """A further data set whose photos of base classes are trained on too.

    Attributes:
        name: name of the part; its photos are `name:id`.
        dataset, root, classes, annotations: as the keys of the same name in `data`.
        split: which of its photos; "all" takes all with a mask.
    """

    name: str = ""
    dataset: Literal["voc", "coco", "folder"] = "voc"
    root: str | None = _place(None)
    split: str = "all"
    classes: str | None = _file(None)
    annotations: str | None = _file(None)


@dataclass
class DataConfig:
    """Photos, classes and which of them are novel.

    Attributes:
        dataset: "shapes" (embedded, drawn on the fly), "voc" (VOCdevkit layout), "coco" (COCO, or
            COCO-JSON of one's own) or "folder" (a folder a class: FSS-1000 and the like).
        root: folder of the data set.
        classes: "voc": file of class names, a line each; without it `classes.txt` in `root`, else
            the 20 PASCAL classes.
        annotations: "coco": a JSON file of one's own classes; without it COCO's own files.
        join: further data sets to train on, under one list of classes (aeroplane is airplane);
            none is tested on.
        unlabelled: pixels without a label in a photo whose data set does not label a class count
            for that class as "background" or not at all ("ignore").
        train_split, novel_split: lists under ImageSets/Segmentation ("voc"), "train2017" and the
            like ("coco"), or "all" photos with a mask.
        fold: which quarter of the classes of `dataset` is novel (0..3), where no names are given.
        layout: folds are "contiguous" or "interleaved" classes; by default interleaved for COCO.
        novel_classes: novel classes by name; [] trains on all classes, and nothing unseen is
            tested. Unset they are those of `fold` or `split_file`.
        split_file: "folder": file of novel class names, a line each; a `trn.txt` beside it names
            the base classes. Without it a seeded fifth of the classes is novel, and another
            takes no part.
        novel_policy: training photos with a novel class: "drop" them, "keep" them (novel pixels are
            background) or "ignore255" the novel pixels.
        pair_filter: which (photo, class) pairs count: "none" (any pixel), "area2048", "oslsm" or
            the path of a list of pairs (hsnet's form, or what `pipelines.index` writes).
        image_size: side in pixels that photos and masks are resized to.
        resize: "squash" photos and masks to a square, or "pad" them, aspect kept; a second look and
            the score of presence then count padding, too.
        validation_share: share of the training photos kept for base-class validation; 0 keeps
            none, the last epoch's model is then the result.
        split_seed: seed that draws those photos.
        count: number of pictures of "shapes".
        seed: seed that draws the pictures of "shapes".
    """

    dataset: Literal["shapes", "voc", "coco", "folder"] = "shapes"
    root: str | None = _place(None)
    classes: str | None = _file(None)
    annotations: str | None = _file(None)
    join: list[JoinConfig] = field(default_factory=list,
                                   metadata={"kind": "number", "added": True})
    unlabelled: Literal["background", "ignore"] = _added("background")
    train_split: str = "all"
    novel_split: str = "all"
    fold: int = _number(0, least=0, most=3)
    layout: Literal["contiguous", "interleaved"] | None = None
    novel_classes: list[str] | None = None
    split_file: str | None = _file(None, beside=("trn.txt", "train.txt"))
    novel_policy: Literal["drop", "keep", "ignore255"] = "drop"
    pair_filter: str = _file("none")
    image_size: int = _number(321, least=33)
    resize: Literal["squash", "pad"] = "squash"
    validation_share: float = _number(0.15, least=0, below=1)
    split_seed: int = _number(0, least=0)
    count: int = _number(2000, least=1)
    seed: int = _number(0, least=0)

    def __post_init__(self) -> None:
        self.join = [JoinConfig(**one) if isinstance(one, dict) else one for one in self.join]


@dataclass
class ModelConfig:
    """The network.

    Attributes:
        method: what answers between the encoder's features and the mask (docs/method.md).
        backbone: "resnet50", "vgg16", "resnet18" or "small".
        weights: "imagenet", "none" or the path of an .npz or notop .h5 file.
        channels: width C of the embedding, comparator and decoder.
        embedding_kernel: side of the embedding's kernel in cells of stride 8. With 1 a ResNet-50
            trains in a fraction of the time and has a ninth of the weights to fit.
        dropout: share of values dropped before the decoder's last 3x3; off in the inner step.
        feature_dropout: share of the backbone's channels that all photos of an episode lose in
            training, so that no single one is relied on.
        comparator: how f_m sees features and prototype: "concatenate"d (the paper's), or with
            their normalised "product" beside them, which learns to compare sooner.
        train_backbone: train the backbone too (the small one must be).
        fusion: how k > 1 shots become one answer: "weighted" is the method's own (sst: Eq. 14);
            the others act on the answers of the single shots.
        second_look: photos are answered once more under a mixture of the support's prototype and
            that of what was found, of which this is the share; 0 looks once. It changes answers
            alone, so that an evaluation of a trained run may set it, as it may `fusion`.
    """

    method: Literal["sst", "panet", "sgone", "fwb", "canet", "oslsm"] = _added("sst")
    backbone: Backbone = "resnet50"
    weights: str = _file("imagenet")
    channels: int = _number(256, least=1)
    embedding_kernel: Literal[1, 3] = _added(3)
    dropout: float = _number(0.0, least=0, below=1)
    feature_dropout: float = _added(0.0, least=0, below=1)
    comparator: Literal["concatenate", "product"] = "product"
    train_backbone: bool = False
    fusion: Literal["weighted", "average", "maximum"] = "weighted"
    second_look: float = _added(0.0, least=0, below=1)

    @property
    def answering(self) -> tuple[str, float]:
        """The values of `ANSWERING`."""
        return self.fusion, self.second_look

    @property
    def asked_otherwise(self) -> list[tuple[str, Any]]:
        """(key, value) of those of `ANSWERING` that are not at their defaults."""
        return [(key, getattr(self, key)) for key in ANSWERING
                if getattr(self, key) != getattr(type(self), key)]


@dataclass
class TunerConfig:
    """The inner step (Eq. 11); see `sst_tf.model.tuner.Tuner`.

    Attributes:
        steps: number of inner steps; 0 switches tuning off.
        step_size: size of a step, a number or "learned".
        initial_step: where a learned step starts.
        reduction: how L_sup is reduced over pixels; of no effect but under `normalize: none`.
        normalize: "relative" scales the update to `step_size` times the features' norm; so does
            "direction", which tells training that only the update's direction can change.
        through: the gradient runs through "both" roles of R_s (Eq. 11) or through the support role
            alone ("prototype").
        second_order: the outer gradient runs through the update.
        loss: the inner loss, "cross_entropy" or "balanced"; unset it is the outer one's, as the
            paper has a single L_sup (Eq. 10).
    """

    steps: int = _number(1, least=0)
    step_size: float | Literal["learned"] = _number(0.1, above=0)
    initial_step: float = _number(0.1, above=0)
    reduction: Literal["mean", "sum"] = "mean"
    normalize: Literal["none", "relative", "direction"] = "relative"
    through: Literal["both", "prototype"] = "both"
    second_order: bool = True
    loss: Literal["cross_entropy", "balanced"] | None = None


@dataclass
class LossConfig:
    """The outer loss.

    Attributes:
        auxiliary: weight of the self-segmentation's cross-entropy; 0 switches it off.
        balanced: foreground and background weigh one half each, in both losses (and in the inner
            one, see `tuner.loss`).
    """

    auxiliary: float = _number(1.0, least=0)
    balanced: bool = True


@dataclass
class OptimizerConfig:
    """The outer step.

    Attributes:
        name: "sgd" (the paper's) or "adam".
        learning_rate: of the backbone, and of everything where `head_multiplier` is 1.
        momentum: for SGD only.
        weight_decay: coupled L2 on kernels, added to the gradient.
        head_multiplier: learning rate of everything but the backbone, over the backbone's (SGD).
        clip_norm: global norm that gradients are clipped to; 0 leaves them.
        schedule: the learning rate is "constant", or falls to zero over the run as a "cosine".
        average: the model that is kept has the weights' exponential moving average with this
            momentum; 0 keeps the weights of the last step.
    """

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = _number(5e-4, above=0)
    momentum: float = _number(0.9, least=0, below=1)
    weight_decay: float = _number(5e-4, least=0)
    head_multiplier: float = _number(1.0, above=0)
    clip_norm: float = _number(0.0, least=0)
    schedule: Literal["constant", "cosine"] = "constant"
    average: float = _added(0.0, least=0, below=1)


@dataclass
class PretrainConfig:
    """Naming base classes before the episodes; see `sst_tf.training.pretrain`.

    Attributes:
        steps: number of steps; 0 leaves it out.
        batch: photos a step.
        learning_rate: learning rate of Adam, which falls to zero over the steps as a cosine.
    """

    steps: int = _number(0, least=0)
    batch: int = _number(16, least=1)
    learning_rate: float = _number(2e-3, above=0)


@dataclass
class TrainConfig:
    """How long, and what is looked at meanwhile.

    Attributes:
        epochs: number of epochs.
        steps_per_epoch: training steps an epoch.
        batch: episodes a step.
        shots: supports an episode in training.
        class_power: classes are drawn in proportion to their number of photos to this power; 0
            draws all alike, 0.5 shows a class of few photos less often.
        absent_share: share of the episodes whose query does not show the class.
        seed: seed of episodes, flips and initial weights.
        flip: random horizontal flips of every photo with its mask.
        crops: with kept features, so many crops of each photo are kept too, and any of them or the
            whole photo is shown (`pipelines.reading.crops`).
        validation_every: epochs between two validations.
        validation_episodes: base-class episodes of the held-out photos each validation scores.
        novel_episodes: novel-class episodes scored beside them, for the curve; 0 for none.
        select_on: the best checkpoint is chosen on "base" (default) or, as older papers did,
            on "novel" classes; the results say which.
        cache_features: compute a frozen backbone's features once a photo and keep them on disk.
        cache_dir: folder of those features, in which data, photos, sizes and weights that differ
            have folders of their own; `sst doctor` tells their size, delete any at will.
        parallel_calls: episodes read at once; 0 for twice as many as cores.
        precision: type of the training step's products. "bfloat16" makes it 1.6 times as fast on
            processors that have it (AVX-512 BF16, AMX); weights, losses and whatever is evaluated
            stay in float32. Processors without AVX-512 stay in float32 altogether.
        strategy: "mirrored" shares each batch among all GPUs of the machine (all logical CPU
            devices where there is none), "multi_worker" among the machines of TF_CONFIG; the
            weights are those of "none" within float error, but for a trained resnet50, whose batch
            norm sees each device's share alone.
        augment: beside flips: "none", "canet" (supports scaled 1 to 1.5 and cropped) or "pfenet"
            (scaled 0.9 to 1.1, turned by up to 10 degrees, blurred half the time).
        service: "host:port" of an `sst remote dispatcher` whose workers read the
            training photos; batches then hold episodes in the order in which the workers finish,
            so that two trainings differ.
        init: start from a trained model, a preset's name or file or a run directory, in the place
            of random weights; where no photos are held out (data.validation_share 0) its operating
            points are kept, too.
    """

    epochs: int = _number(10, least=1)
    steps_per_epoch: int = _number(100, least=1)
    batch: int = _number(4, least=1)
    shots: int = _number(1, least=1)
    class_power: float = _added(0.0, least=0, most=1)
    absent_share: float = _added(0.0, least=0, below=1)
    seed: int = _number(0, least=0)
    flip: bool = True
    crops: int = _added(0, least=0)
    validation_every: int = _number(1, least=1)
    validation_episodes: int = _number(200, least=1)
    novel_episodes: int = _number(200, least=0)
    select_on: Literal["base", "novel"] = "base"
    cache_features: bool = False
    cache_dir: str = _place("cache/features")
    parallel_calls: int = _place(0, least=0)
    precision: Literal["float32", "bfloat16"] = _added("float32")
    strategy: Literal["none", "mirrored", "multi_worker"] = _place("none")
    augment: Literal["none", "canet", "pfenet"] = "none"
    service: str | None = field(default=None, metadata={"kind": "whether", "added": True})
    init: str | None = _file(None, ("model.keras",), added=True, named=True)


@dataclass
class EvaluateConfig:
    """The fixed episodes of unseen classes.

    Attributes:
        protocol: "sst" (random episodes at the run's own size) or another paper's choice of photos,
            episodes, size, scoring and void; see `pipelines.protocols`.
        episodes: number of episodes a run; unset (or 0) as many as the protocol has, 1,000 for
            "sst".
        runs: runs over other episodes, of which mean and standard deviation are given; unset (or
            0) as many as the protocol has, one for "sst".
        episode_file: episodes to replay, as an evaluation writes them; in place of a protocol's.
        pair_list: the published list of (photo, class) pairs that the protocol "hsnet" tests on.
        shots: the numbers of supports evaluated after training.
        ways: classes an episode; above 1 each pixel gets one of them or background.
        seed: seed of the episodes, of which validation sees none (`sst_tf.data.seeds`); a replay
            of `episode_file` needs none.
        scales: the query is answered at each scale of its picture; probabilities are averaged.
        flip: the query is answered mirrored, too; probabilities are averaged.
        threshold_episodes: base-class episodes on which the operating point is chosen.
        oracle: score each query with itself and its true mask as the support too: the room that
            better prototypes could fill.
        resamples: bootstrap resamples of photos for the intervals.
        absent_episodes: episodes whose query does not show the class, which set the score from
            which a class counts as present; 0 leaves them out.
        batch: episodes at once.
        processes: processes that share the episodes; does not change numbers.
        memory: gigabytes that embeddings, raw photos and masks may keep, all processes together;
            what does not fit is computed or read again. Does not change numbers.
    """

    protocol: Literal["sst", "canet", "hsnet", "pfenet", "repri", "panet", "bam"] = "sst"
    episodes: int | None = _number(None, least=0)
    runs: int | None = _number(None, least=0)
    episode_file: str | None = _file(None)
    pair_list: str | None = _file(None, added=True)
    shots: list[int] = _numbers([1, 5], least=1)
    ways: int = _number(1, least=1)
    seed: int = _number(0, least=0)
    scales: list[float] = _numbers([1.0], above=0)
    flip: bool = False
    threshold_episodes: int = _number(400, least=1)
    oracle: bool = False
    resamples: int = _number(1000, least=1)
    absent_episodes: int = _number(200, least=0)
    batch: int = _place(8, least=1)
    processes: int = _place(1, least=1)
    memory: float = _place(2.0, least=0)


@dataclass
class Config:
    """Everything that a run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tuner: TunerConfig = field(default_factory=TunerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(Config)}
