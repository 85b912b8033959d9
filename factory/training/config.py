"""What decides a training run: the networks, the losses' weights and Algorithm 1's schedule."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from factory.store.open import absolute
from schemas.base import Float, Model, spell_out
from schemas.discriminator import DiscriminatorConfig
from schemas.place import Place
from schemas.refiner import PrecisionChoice, RefinerConfig
from schemas.score import RankedBy
from schemas.shipped import config_file
from schemas.toml import tables_in

PsiName = Literal["identity", "derivatives", "channel_mean", "features"]
"""a fixed transform for the self-regularisation; `factory.training.patch_nce` is one that is
learnt"""
Phase = Literal["refiner_pretrain", "discriminator_pretrain", "adversarial"]
Beta = Annotated[Float, Field(ge=0, lt=1)]
LR_DROP = 0.25
"""the paper's, for hands: from 0.0002 to 0.00005 (appendix)"""


class TrainConfig(Model):
    """Everything that decides what a training run makes, and how it runs."""

    refiner: RefinerConfig = RefinerConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    full_scale: Float | None = Field(default=None, gt=0)
    """the pixel value that becomes 1 in the networks; absent: the datasets' own, 255 for 8-bit
    images, the side of the cube in mm and 1 for depth"""
    empty_below: Float = Field(default=0.0, ge=0)
    """stored values of refined images below it become 0, the background of depth; 0 for none"""
    empty_beyond: Float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)
    """stored values of refined images that differ by more than it from the render's become 0, as a
    depth camera gives none where it is unsure of the surface; 0 for none"""
    window_px: int | None = Field(default=None, ge=1)
    """train on random square windows of the images, with a pixel that is not 0 in the middle where
    there is one; absent: on whole images. Results are of whole images either way"""
    steps: int = Field(ge=0)
    """discriminator updates after pre-training, a multiple of k_d"""
    batch_size: int = Field(default=512, ge=2)
    """b: images in a batch of all workers together, even"""
    refiner_pretrain_steps: int = Field(default=1000, ge=0)
    """refiner updates with self-regularisation alone"""
    discriminator_pretrain_steps: int = Field(default=200, ge=0)
    """discriminator updates before the refiner meets it"""
    k_g: int = Field(default=2, ge=1)
    """refiner updates in one pass of Algorithm 1 (the paper says both `twice` and 50)"""
    k_d: int = Field(default=1, ge=1)
    """discriminator updates in one pass"""
    lambda_reg: Float = Field(default=3.0, ge=0)
    """weight of the mean absolute difference against the mean patch cross-entropy"""
    psi: PsiName | Literal["patch_nce"] = "identity"
    """feature transform of the self-regularisation; `patch_nce` compares patches as the refiner
    sees them (Park et al. 2020), for which 1 is a good lambda_reg"""
    target_labels: Path | None = None
    """file that all workers see, with labels of the real domain: renders are drawn so that their
    labels follow it (after Lee et al. 2018). Eyes: .npz with gaze_rad (n, 2), yaw and pitch in
    radians"""
    match_head: bool = False
    """follow head_rad (n, 2) of that file as well"""
    label_network: Place | None = None
    """a trained network that sees labels in images: path, or s3://bucket/prefix. Eyes: a landmark
    network of the job `estimator landmarks`"""
    label_weight: Float = Field(default=0.0, ge=0)
    """weight of the px by which that network sees labels move (label consistency, after Hoffman et
    al. 2018)"""
    shift_weight: Float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)
    """weight of the square of the px by which all renders of a batch move together; 0 for none"""
    sequence_weight: Float = Field(default=0.0, ge=0)
    """weight of the difference between refined frames of a short sequence (after Eilertsen et al.
    2019)"""
    sequence_frames: int = Field(default=3, ge=2)
    """frames of such a sequence"""
    diversity_weight: Float = Field(default=0.0, ge=0)
    """reward for refined images that differ with their noise (Yang et al. 2019); needs
    refiner.noise_channels"""
    diversity_limit: Float = Field(default=0.2, gt=0)
    """mean change on [-1, 1] for a unit of noise, beyond which no more is rewarded"""
    refiner_init: Literal["random", "identity", "exact_identity"] = "random"
    """where the refiner starts: `identity`, tanh(1.2 x), needs hardly any pre-training;
    `exact_identity`, for depth, is x itself to a thousandth and needs none"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """how the weights of both networks are updated"""
    refiner_lr: Float = Field(default=5e-4, gt=0)
    """learning rate of the refiner"""
    discriminator_lr: Float = Field(default=5e-4, gt=0)
    """learning rate of the discriminator"""
    lr_drop_after: int | None = Field(default=None, ge=1)
    """steps after which both learning rates are a quarter of these (the paper's, for hands: 600,000
    steps); absent: never"""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """with optimizer = adam: its two decay rates"""
    momentum: Float = Field(default=0.0, ge=0, lt=1)
    """with optimizer = sgd: its momentum"""
    buffer_size: int = Field(default=51200, ge=0)
    """B: images in the history of refined images, at least half a batch; 0 for no history"""
    r1_gamma: Float = Field(default=0.0, ge=0)
    """weight of the R1 gradient penalty on the discriminator (Mescheder et al. 2018)"""
    ema_decay: Float | None = Field(default=None, gt=0, lt=1)
    """decay of the running average of the refiner's weights that is kept as the result; absent: the
    last weights are"""
    precision: PrecisionChoice = "float32"
    """in what the networks compute; weights, losses and optimisers are float32 either way. auto: as
    the run in the output; a new one computes in bfloat16 where processor or GPU have it in hardware
    and images have 8 bits, else in float32, which differs by roundings between machines"""
    compile: bool = False
    """compile the networks (a minute or two, once): for long runs on GPUs"""
    seed: int = Field(default=0, ge=0)
    """of the initial weights, the batches, and all other random choices"""
    log_every: int = Field(default=10, ge=1)
    """updates between lines of metrics"""
    strip_every: int = Field(default=500, ge=1)
    """steps between sample strips, a multiple of k_d"""
    checkpoint_every: int = Field(default=500, ge=1)
    """updates between checkpoints"""
    validate_every: int = Field(default=0, ge=0)
    """updates between scores on held-out images, which are made beside the training; 0 for none"""
    keep: Literal["last", "best"] = "last"
    """which refiner is the result: the last, or the one that scored best"""
    keep_by: RankedBy = Field(
        default="two_sample_accuracy", exclude_if=lambda value: value == "two_sample_accuracy"
    )
    """what is best, of refiners that keep their labels: to be told from real images least often, to
    have closed the largest share of the distance to them (eyes), or to have brought holes, outlines
    and noise nearest to theirs (hands); with keep = best"""
    num_threads: int | None = Field(default=None, ge=1)
    """CPU threads; torch's own choice when absent. Another number may change the last bits"""

    @classmethod
    def from_file(cls, file: str | Path, **changes: JsonValue) -> Self:
        """The configuration in the table `[train]` of a TOML file.

            TrainConfig.from_file("eye-small", steps=400, seed=1)

        Args:
            file: its path, or the name of a configuration that comes with simgan-factory.
            changes: fields in place of those of the file, which may lack them. `precision` is
                `auto` where neither says it, as jobs/train.py has it.

        Raises:
            ValueError: there is no such file, it has no table `[train]`, or a field does not fit.
            FormatError: it is not TOML.
        """
        path = config_file(Path(file))
        table = tables_in(path).get("train")
        if table is None:
            raise ValueError(f"{path} has no table [train]")
        try:
            return cls.model_validate({"precision": "auto", **table, **changes})
        except ValidationError as error:
            raise ValueError(f"{path} [train]: {spell_out(error)}") from error

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_size % 2:
            raise ValueError(f"batch_size must be even, is {self.batch_size}")
        if 0 < self.buffer_size < self.batch_size // 2:
            raise ValueError(
                f"buffer_size must hold half a batch ({self.batch_size // 2}) or be 0, "
                f"is {self.buffer_size}"
            )
        for name in ("steps", "strip_every"):
            if getattr(self, name) % self.k_d:
                raise ValueError(
                    f"{name} must be a multiple of k_d = {self.k_d}, is {getattr(self, name)}"
                )
        if self.refiner.channels != self.discriminator.channels:
            raise ValueError(
                f"the refiner has {self.refiner.channels} channels, "
                f"the discriminator {self.discriminator.channels}"
            )
        if self.label_weight > 0 and self.label_network is None:
            raise ValueError("label_weight > 0 needs a label_network")
        if self.diversity_weight > 0 and not self.refiner.noise_channels:
            raise ValueError("diversity_weight > 0 needs refiner.noise_channels")
        if self.keep == "best" and not self.validate_every:
            raise ValueError("keep = best needs validate_every: only scored refiners are compared")
        if self.keep_by != "two_sample_accuracy" and self.keep != "best":
            raise ValueError(
                f"keep_by = {self.keep_by} needs keep = best: else the last one is kept"
            )
        if self.window_px is not None:
            self._check_window(self.window_px)
        if self.compile and self.r1_gamma > 0:
            raise ValueError("compile and r1_gamma > 0: compiled networks have no second gradient")
        return self

    def _check_window(self, window_px: int) -> None:
        stride = self.discriminator.stride
        if window_px < stride:
            raise ValueError(
                f"window_px = {window_px}: the discriminator's patches lie {stride} px apart, so "
                "that its map of a window would be empty; take larger windows, or layers of "
                "smaller stride"
            )
        if self.label_weight > 0:
            raise ValueError("label_weight > 0 and window_px: labels are seen in whole images only")

    @property
    def pretrain_clock(self) -> int:
        """Passes of the schedule before the adversarial phase."""
        return self.refiner_pretrain_steps + self.discriminator_pretrain_steps

    @property
    def total_clock(self) -> int:
        """Passes of the whole schedule: pre-training updates, then rounds of K_g + K_d updates."""
        return self.pretrain_clock + self.steps // self.k_d

    def phase_at(self, clock: int) -> tuple[Phase, int]:
        """The phase, and the steps done in it, after `clock` passes; steps of the adversarial phase
        are discriminator updates."""
        if clock <= self.refiner_pretrain_steps and self.refiner_pretrain_steps:
            return "refiner_pretrain", clock
        if clock <= self.pretrain_clock and self.discriminator_pretrain_steps:
            return "discriminator_pretrain", clock - self.refiner_pretrain_steps
        return "adversarial", (clock - self.pretrain_clock) * self.k_d

    def lr_share(self, clock: int) -> float:
        """Of the learning rates, in pass `clock` (from 1)."""
        phase, step = self.phase_at(clock)
        is_late = self.lr_drop_after is not None and step > self.lr_drop_after
        return LR_DROP if phase == "adversarial" and is_late else 1.0

    def trained_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of what the networks are trained on, of images of this size.

        Raises:
            ValueError: the windows are larger than the images.
        """
        if self.window_px is None:
            return height, width
        if self.window_px > min(height, width):
            raise ValueError(
                f"window_px = {self.window_px} is larger than the images, which have "
                f"{height} x {width} px; leave it out to train on whole images"
            )
        return self.window_px, self.window_px

    def located(self) -> Self:
        """The same with absolute locations, which mean the same in a worker's own folder."""
        places: dict[str, str | Path] = {}
        if self.target_labels is not None:
            places["target_labels"] = self.target_labels.absolute()
        if self.label_network is not None:
            places["label_network"] = absolute(self.label_network)
        return self.model_copy(update=places)

    def content(self) -> dict[str, JsonValue]:
        """What decides the result: all but threads, how often to save, and the places of files
        that a run's record names by their content."""
        unimportant = {"num_threads", "checkpoint_every", "label_network", "target_labels"}
        return self.model_dump(mode="json", exclude=unimportant)
