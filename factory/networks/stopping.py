"""When the training of an estimator is stopped, without a look at any test set.

A network that is trained on renders first learns what holds for eyes in general, and later the look
of the renders: its error on other renders goes on falling long after its error on real images has
begun to rise. The lowest held-out error is therefore a late place to stop at. `StoppedTraining`
offers two that are earlier.

Axes: N held-out images, D numbers of the quantity.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.images.png import Pixels
from factory.networks.evaluation_kinds import Examples, Fitted, Quantity, Regressor, Values
from schemas.base import Float

if TYPE_CHECKING:
    from torch import Tensor, nn

StopRule = Literal["best", "steps", "share", "shifted"]
MIN_SPREAD = 0.1
"""a training has collapsed if its answers vary by less than this share of the true values"""


class StoppedTraining(Regressor):
    """A network, and how its training is stopped."""

    quantities: ClassVar[frozenset[str] | None]

    steps: int = Field(default=600, ge=1)
    """number of updates at most"""
    batch_size: int = Field(default=64, ge=1)
    """images in each update"""
    lr: Annotated[Float, Field(gt=0)] = 1e-3
    """learning rate of Adam"""
    stop: StopRule = "best"
    """where training stops, and whose weights are used. `best`: the lowest held-out error.
    `shifted`: the lowest error on held-out images whose light, contrast, sharpness and noise were
    changed, as a real camera's are; what has learnt the renders' look fails on these first.
    `share`: the first validation whose held-out error is at most `share` of the error of always
    answering the mean. `steps`: after all updates"""
    share: Annotated[Float, Field(gt=0, lt=1)] = 0.5
    """of the mean answer's held-out error, for the rule `share`"""
    validate_every: int = Field(default=25, ge=1)
    """updates between two validations"""
    patience: int = Field(default=8, ge=1)
    """validations without a new lowest error after which training ends"""
    max_validated: int = Field(default=512, ge=1)
    """held-out images of each validation at most; where there are more, the seed draws them"""

    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        mean_answer = train.values_ND.mean(axis=0)

        def estimate(network: "nn.Module", images: Pixels) -> Values:
            found_ND = self.found(network, images).reshape(len(images), -1)
            return np.where(np.isnan(found_ND), mean_answer, found_ND).astype(np.float64)

        watch = Watch(
            self, estimate, mean_answer, held_out, quantity, shifted=self.shifted, seed=seed
        )
        network = self.trained(train, seed, watch)
        return Fitted(partial(estimate, network), watch.finish(network))

    @abstractmethod
    def trained(self, train: Examples, seed: int, watch: "Watch") -> "nn.Module":
        """Train a network, until the watch stops it."""

    @abstractmethod
    def found(self, network: "nn.Module", images: Pixels) -> NDArray[np.floating]:
        """(N, ...) the D numbers that a network finds in each image; the mean answer stands in for
        NaN, where there is nothing to find."""

    @abstractmethod
    def shifted(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        """Images of another look, for the rule `shifted`."""


class Watch:
    """Validates a network while it is trained, decides when to stop, and keeps its weights.

    It is the `stop` of `train_network`.
    """

    def __init__(
        self,
        options: StoppedTraining,
        estimate: "Callable[[nn.Module, Pixels], Values]",
        mean_answer: Values,
        held_out: Examples,
        quantity: Quantity,
        *,
        shifted: Callable[[Pixels, np.random.Generator], Pixels],
        seed: int,
    ) -> None:
        """
        Args:
            estimate: (N, D) of a network and images.
            mean_answer: (D,) mean of the values that are trained on.
            shifted: as `StoppedTraining.shifted`.
        """
        rng = np.random.default_rng([seed, 1])
        num = len(held_out.images)
        rows = np.sort(rng.permutation(num)[: options.max_validated])
        self.options, self.estimate, self.quantity = options, estimate, quantity
        self.images, self.truth_ND = held_out.images[rows], held_out.values_ND[rows]
        self.judged_by = self.images
        if options.stop == "shifted":
            self.judged_by = shifted(self.images, rng)
        constant = np.broadcast_to(mean_answer, self.truth_ND.shape)
        self.mean_answer_error = float(quantity.errors(constant, self.truth_ND).mean())
        self.lowest = math.inf
        self.updates = 0
        """updates after which the weights were taken"""
        self.stopped_by = "steps"
        self.weights: dict[str, Tensor] | None = None
        self._since = 0

    def __call__(self, network: "nn.Module", updates: int) -> bool:
        options = self.options
        if options.stop == "steps":
            self.updates = updates
            return False
        if updates % options.validate_every and updates != options.steps:
            return False
        error = self._error(network, self.judged_by)
        if options.stop == "share":
            self.updates = updates
            if error > options.share * self.mean_answer_error:
                return False
            self.stopped_by = "share"
            return True
        if error < self.lowest:
            self.lowest, self.updates, self._since = error, updates, 0
            self.weights = {
                name: value.detach().clone() for name, value in network.state_dict().items()
            }
            return False
        self._since += 1
        if self._since < options.patience:
            return False
        self.stopped_by = "patience"
        return True

    def _error(self, network: "nn.Module", images: Pixels) -> float:
        network.eval()
        try:
            found_ND = self.estimate(network, images)
        except ValueError as error:  # what networks are refused with when they are used
            raise RuntimeError(
                "the training gives answers that are not finite; lower lr"
            ) from error
        network.train()
        return float(self.quantity.errors(found_ND, self.truth_ND).mean())

    def finish(self, network: "nn.Module") -> dict[str, float | int | str]:
        """Give a trained network the weights that were kept, and say how the training went.

        Returns:
            `updates` that the weights have had; `held_out_error_UNIT` and `mean_answer_UNIT`, the
            errors on the held-out images; `stopped_by`: `patience`, `share` or `steps`; and
            `collapsed`, 1 where the network answers nearly the same for all images, or no better
            than the mean, else 0.
        """
        if self.weights is not None:
            network.load_state_dict(self.weights)
        network.eval()
        found_ND = self.estimate(network, self.images)
        error = float(self.quantity.errors(found_ND, self.truth_ND).mean())
        spread, true_spread = (
            math.sqrt(values.var(axis=0).sum()) for values in (found_ND, self.truth_ND)
        )
        collapsed = not (error < self.mean_answer_error and spread >= MIN_SPREAD * true_spread)
        unit = self.quantity.unit
        return {
            "updates": self.updates,
            f"held_out_error_{unit}": error,
            f"mean_answer_{unit}": self.mean_answer_error,
            "stopped_by": self.stopped_by,
            "collapsed": int(collapsed),
        }
