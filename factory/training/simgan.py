"""Algorithm 1 of Shrivastava et al. 2017 (arXiv:1612.07828): R and D, trained against each other.

This module knows tensors; `factory.training.draws` draws them, `factory.training.run` knows files.

Several workers train one pair of networks: each draws its share of every batch from its own part
of the images, gradients are averaged, the history is shared. `batch_size` is the batch of all of
them together, so neither it, nor b/2, nor a learning rate depends on how many there are.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from factory.images.scale import full_scale_for
from factory.networks.discriminator import REAL, REFINED, Discriminator
from factory.networks.exact_start import start_as_exact_identity
from factory.networks.refiner import Refiner
from factory.training.config import TrainConfig
from factory.training.draws import Draws
from factory.training.history import History
from factory.training.inputs import TrainingInputs
from factory.training.losses import discriminator_loss, gradient_penalty, realism_loss
from factory.training.refiner_terms import Batch, RefinerTerms, Term
from factory.training.workers import WorkerGroup
from schemas.training import Counters

Metrics = dict[str, Tensor]
"""Scalars by name, still on the device."""


class NonFiniteLoss(RuntimeError):  # noqa: N818
    """A loss or gradient is not finite; no weight has been changed by it."""

    def __init__(self, message: str, batch: dict[str, np.ndarray]) -> None:
        super().__init__(message)
        self.batch = batch
        """the images of the update, by name"""


def _optimiser(
    config: TrainConfig, networks: Sequence[nn.Module], lr: float
) -> torch.optim.Optimizer:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=config.momentum)
    return torch.optim.Adam(parameters, lr=lr, betas=config.betas)


class SimGAN:
    """Owner of R, D, their optimisers and the clock of the schedule.

    The history answers while the networks work: fresh images are sent when a discriminator step is
    done, and the past ones that come back are for the next step. So D sees images that are one
    exchange older than if each step waited for its own.
    """

    def __init__(
        self,
        config: TrainConfig,
        inputs: TrainingInputs,
        history: History | None,
        *,
        workers: WorkerGroup | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """
        Args:
            inputs: this worker's part.
            history: of capacity `config.buffer_size`, the same one for all workers; None for
                D to see none but fresh images.
            workers: the workers of a joint training; None for one alone.

        Raises:
            ValueError: half a batch is not a multiple of the number of workers, or the
                configuration has a `label_weight` and the inputs no `consistency`.
        """
        self.config = config
        self.history = history
        self.workers = workers if workers is not None else WorkerGroup()
        self.half = config.batch_size // 2 // self.workers.size
        """this worker's share of half a batch"""
        if self.half * self.workers.size * 2 != config.batch_size:
            raise ValueError(
                f"{self.workers.size} workers cannot share a batch of {config.batch_size} and its "
                f"halves evenly; make batch_size a multiple of {2 * self.workers.size}"
            )
        self.device = torch.device(device)
        self.draws = Draws(
            {"synthetic": inputs.synthetic, "real": inputs.real},
            full_scale=full_scale_for(config.full_scale, inputs.synthetic.dtype),
            seed=config.seed,
            rank=self.workers.rank,
            device=self.device,
            weights=inputs.weights,
            window_px=config.window_px,
        )
        self.refiner = Refiner(config.refiner, seed=config.seed)
        if config.refiner_init == "identity":
            self.refiner.initialise_as_identity()
        elif config.refiner_init == "exact_identity":
            start_as_exact_identity(self.refiner)
        self.discriminator = Discriminator(
            config.discriminator,
            seed=config.seed + 1,
            image_size=config.trained_size(*inputs.synthetic.shape[-2:]),
        )
        for network in (self.refiner, self.discriminator):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._refine = self._forward(self.refiner)
        self._judge = self._forward(self.discriminator)
        self.terms = RefinerTerms(
            config, self.refiner, self._refine, self.draws, inputs.consistency
        )
        self.refiner_optimiser = _optimiser(
            config, [self.refiner, *self._heads().values()], config.refiner_lr
        )
        self.discriminator_optimiser = _optimiser(
            config, [self.discriminator], config.discriminator_lr
        )
        self.average = deepcopy(self.refiner) if config.ema_decay is not None else None
        self.clock = 0
        self.num_refiner_updates = 0
        self.num_refined = 0
        """images that all workers have refined in their updates, for measuring speed"""
        self._waited_for_history_s = 0.0
        self._exchanges = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._past: Future[np.ndarray] | None = None

    @property
    def waited_s(self) -> dict[str, float]:
        """Seconds that the networks stood still for images, and for the history."""
        return {"data": self.draws.waited_s, "history": self._waited_for_history_s}

    def _forward(self, network: nn.Module) -> Callable[..., Tensor]:
        """The network's forward pass in the configured precision, to float32."""
        run = torch.compile(network) if self.config.compile else network
        assert self.config.precision != "auto", "a run resolves it when it begins"
        if self.config.precision == "float32":
            return run

        def forward(*given: Tensor | None) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                made: Tensor = run(*given)
            return made.float()

        return forward

    @property
    def chosen(self) -> Refiner:
        """The refiner to keep: the running average where there is one, else the last."""
        return self.refiner if self.average is None else self.average

    def step(self) -> Metrics:
        """One pass of the schedule: a pre-training update, or K_g of R and then K_d of D.

        Returns:
            What the last update of each network measured.

        Raises:
            NonFiniteLoss: before the update that would have spread it.
        """
        phase, _ = self.config.phase_at(self.clock + 1)
        metrics: Metrics = {}
        if phase == "refiner_pretrain":
            metrics |= self.refiner_step(adversarial=False)
        elif phase == "discriminator_pretrain":
            metrics |= self.discriminator_step()
        else:
            for _ in range(self.config.k_g):
                metrics |= self.refiner_step()
            for _ in range(self.config.k_d):
                metrics |= self.discriminator_step()
        self.clock += 1
        return metrics

    def _refined(self, n: int) -> Batch:
        """n renders that are drawn now, refined with noise that is."""
        synthetic = self.draws.images("synthetic", n)
        channels = self.config.refiner.noise_channels
        noise = self.draws.normal(n, channels) if channels else None
        self.num_refined += n * self.workers.size
        return Batch(synthetic, noise, self._refine(synthetic, noise))

    def refiner_step(self, *, adversarial: bool = True) -> Metrics:
        """One update of R by equation (4), D held fixed; without D, by its second term alone."""
        batch = self._refined(2 * self.half)
        if adversarial:
            self.discriminator.requires_grad_(False)  # gradients pass through D, not into it
            terms = [Term("realism_loss", 1.0, realism_loss(self._judge(batch.refined)))]
            terms += self.terms(batch)
        else:
            terms = self.terms.pretraining(batch)
        loss = torch.stack([term.weight * term.value for term in terms]).sum()
        metrics: Metrics = {term.name: term.value.detach() for term in terms}
        metrics["refiner_loss"] = loss.detach()
        images = {"synthetic": batch.synthetic, "refined": batch.refined}
        metrics["refiner_gradient_norm"] = self._update(
            "refiner", self.refiner_optimiser, loss, images
        )
        self.num_refiner_updates += 1
        self._update_average()
        with torch.no_grad():
            metrics["mean_abs_delta"] = (batch.refined - batch.synthetic).abs().mean()
        return metrics

    def discriminator_step(self) -> Metrics:
        """One update of D by equation (2): b real, b/2 fresh and b/2 past refined images.

        Without a history, b fresh ones. All of them pass through float16, the history's precision:
        D must not tell the domains, or past from present, by their rounding.
        """
        num_fresh = self.half if self.history is not None else 2 * self.half
        with torch.no_grad():
            fresh = self._refined(num_fresh).refined.to(torch.float16)
            real = self.draws.images("real", 2 * self.half).to(torch.float16).float()
        refined = fresh if self.history is None else torch.cat([fresh, self._past_or(fresh)])
        refined = refined.float().contiguous(memory_format=torch.channels_last)
        self.discriminator.requires_grad_(True)
        real.requires_grad_(self.config.r1_gamma > 0)
        logits = self._judge(torch.cat([refined, real]))
        refined_logits, real_logits = logits[: 2 * self.half], logits[2 * self.half :]
        loss = discriminator_loss(refined_logits, real_logits)
        metrics: Metrics = {"discriminator_loss": loss.detach()}
        if self.config.r1_gamma > 0:
            penalty = gradient_penalty(real_logits, real)
            metrics["gradient_penalty"] = penalty.detach()
            loss = loss + self.config.r1_gamma / 2 * penalty
        metrics["discriminator_gradient_norm"] = self._update(
            "discriminator", self.discriminator_optimiser, loss, {"refined": refined, "real": real}
        )
        if self.history is not None:
            images = fresh.cpu().contiguous().numpy()
            self._past = self._exchanges.submit(self.history.exchange, images, self.workers.rank)
        with torch.no_grad():
            metrics["accuracy_refined"] = (refined_logits.argmax(1) == REFINED).float().mean()
            metrics["accuracy_real"] = (real_logits.argmax(1) == REAL).float().mean()
        return metrics

    def _past_or(self, fresh: Tensor) -> Tensor:
        """Past images that the last exchange gave; `fresh` before the first."""
        if self._past is None:
            return fresh
        started = time.perf_counter()
        past = np.require(self._past.result(), requirements=["C", "W"])
        self._waited_for_history_s += time.perf_counter() - started
        return torch.from_numpy(past).to(self.device)

    def wait_for_history(self) -> None:
        """Until every worker's exchange is done: then the history is that of this step."""
        if self._past is not None:
            self._past.result()
        self.workers.wait_for_all(self.device)

    def history_metrics(self) -> dict[str, float]:
        """How full the history is, and how old is what it last handed out, in exchanges."""
        if self.history is None:
            return {}
        if self._past is not None:
            self._past.result()
        statistics = self.history.statistics()
        ages = zip(("p10", "p50", "p90"), statistics.age_given, strict=True)
        given = {f"history_age_{name}": age for name, age in ages if not math.isnan(age)}
        return {"history_size": float(statistics.size), **given}

    def _update(
        self,
        name: str,
        optimiser: torch.optim.Optimizer,
        loss: Tensor,
        batch: Mapping[str, Tensor],
    ) -> Tensor:
        """Descend, unless the loss or a gradient is not finite: then raise, nothing changed.

        Returns:
            The norm of the gradient, a scalar.
        """
        lr = self.config.refiner_lr if name == "refiner" else self.config.discriminator_lr
        for group in optimiser.param_groups:
            group["lr"] = lr * self.config.lr_share(self.clock + 1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [
            parameter.grad
            for group in optimiser.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        loss = loss.detach()
        self.workers.mean([*gradients, loss])  # the loss too: all workers stop, or none
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            phase, step = self.config.phase_at(self.clock + 1)
            raise NonFiniteLoss(
                f"{phase} step {step}: {name} loss or its gradient is not finite (loss "
                f"{float(loss):.6g}, gradient norm {float(norm):.6g}); stopped before the update",
                {name: images.detach().float().cpu().numpy() for name, images in batch.items()},
            )
        optimiser.step()
        return norm

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None or self.config.ema_decay is None:
            return
        # The first updates count for more, so that the random start is soon forgotten.
        warm_up = (1 + self.num_refiner_updates) / (10 + self.num_refiner_updates)
        weight = 1 - min(self.config.ema_decay, warm_up)
        for mean, value in zip(self.average.parameters(), self.refiner.parameters(), strict=True):
            mean.lerp_(value, weight)

    def _heads(self) -> dict[str, nn.Module]:
        """Networks that are trained with R and are no part of it."""
        return {} if self.terms.patch_nce is None else {"patch_nce": self.terms.patch_nce}

    def _networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {
            "refiner": self.refiner,
            "discriminator": self.discriminator,
            **self._heads(),
        }
        if self.average is not None:
            networks["average"] = self.average
        return networks

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "refiner_optimiser": self.refiner_optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimiser states by dotted names."""
        tensors = {
            f"{owner}.{name}": tensor
            for owner, network in self._networks().items()
            for name, tensor in network.state_dict().items()
        }
        for owner, optimiser in self._optimisers().items():
            for number, state in optimiser.state_dict()["state"].items():
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        tensors[f"{owner}.{number}.{name}"] = value
        return tensors

    def counters(self, seconds: float = 0.0) -> Counters:
        """What `tensors` leaves out of the state.

        Args:
            seconds: that the training has run.
        """
        return Counters(
            clock=self.clock,
            num_draws=self.draws.count,
            num_refiner_updates=self.num_refiner_updates,
            seconds=seconds,
        )

    def load(self, tensors: Mapping[str, Tensor], counters: Counters) -> None:
        """Become what `tensors` and `counters` described, to the last bit."""
        for owner, network in self._networks().items():
            network.load_state_dict(_below(tensors, owner))
        for owner, optimiser in self._optimisers().items():
            parameters = optimiser.param_groups[0]["params"]
            for dotted, value in _below(tensors, owner).items():
                number, name = dotted.split(".", 1)
                parameter = parameters[int(number)]
                if value.shape == parameter.shape:  # in the parameter's own memory layout
                    value = torch.empty_like(parameter).copy_(value)
                optimiser.state[parameter][name] = value
        self.clock = counters.clock
        self.draws.count = counters.num_draws
        self.num_refiner_updates = counters.num_refiner_updates

    def resume_history(self) -> None:
        """Continue with the answer of the last exchange, after `load` and the history's own
        `restore`."""
        past = self.history.last(self.workers.rank) if self.history is not None else None
        # A checkpoint of another number of workers has answers of another size: then the first
        # discriminator step reuses its fresh images.
        if past is not None and len(past) == self.half:
            self._past = Future()
            self._past.set_result(past)


def _below(tensors: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    prefix = f"{owner}."
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
