"""Algorithm 1 of Shrivastava et al. 2017 (arXiv:1612.07828): R and D, trained against each other.

This module knows tensors and random draws; `factory.training` knows files.

Several workers train one pair of networks: each draws its share of every batch from its own part
of the images, gradients are averaged, the history is shared. `batch_size` is the batch of all of
them together, so neither it, nor b/2, nor a learning rate depends on how many there are.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from factory.history import History
from factory.losses import (
    discriminator_loss,
    gradient_penalty,
    refiner_loss,
    self_regularisation,
)
from factory.models import (
    REAL,
    REFINED,
    Discriminator,
    Refiner,
    normalised,
    to_network,
)
from factory.train_config import TrainConfig

Metrics = dict[str, Tensor]
"""Scalars by name, still on the device."""


class NonFiniteLoss(RuntimeError):  # noqa: N818
    """A loss or gradient is not finite; no weight has been changed by it."""

    def __init__(self, message: str, batch: dict[str, np.ndarray]) -> None:
        super().__init__(message)
        self.batch = batch
        """the images of the update, by name"""


class Peers(NamedTuple):
    """The workers that train one refiner together, each on its own part of the images."""

    rank: int = 0
    size: int = 1
    average: Callable[[Sequence[Tensor]], None] | None = None
    """replaces each tensor by its mean over the workers, in place, the same call on all"""

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """`average`, where there is more than one worker."""
        if self.average is not None:
            self.average(tensors)

    def wait_for_all(self, device: torch.device) -> None:
        """Return once every worker has called this."""
        self.mean([torch.zeros(1, device=device)])


def average_over_process_group(tensors: Sequence[Tensor]) -> None:
    """`Peers.average` by one all-reduce of torch.distributed's default group."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    start = 0
    for tensor in tensors:
        end = start + tensor.numel()
        tensor.copy_(flat[start:end].view(tensor.shape))
        start = end


RESIDENT_SHARE = 0.25
"""of a device's free memory that one domain's images may take"""


def resident(images: np.ndarray, device: torch.device) -> Tensor | None:
    """(n, C, H, W) images on a device, so that batches need no copying; None if they take too
    much of its memory."""
    if (
        device.type == "cuda"
        and images.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    ):
        return None
    there = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return there if there.ndim == 4 else there[:, None]


def _optimiser(config: TrainConfig, network: nn.Module, lr: float) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=lr, momentum=config.momentum)
    return torch.optim.Adam(network.parameters(), lr=lr, betas=config.betas)


class SimGAN:
    """Owner of R, D, their optimisers and the clock of the schedule.

    Every draw of images depends on (seed, worker, number of draws) alone, so the whole state of
    the randomness is one counter.

    The history answers while the networks work: fresh images are sent when a discriminator step is
    done, and the past ones that come back are for the next step. So D sees images that are one
    exchange older than if each step waited for its own.
    """

    def __init__(
        self,
        config: TrainConfig,
        synthetic: np.ndarray,
        real: np.ndarray,
        history: History | None,
        *,
        peers: Peers | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """
        Args:
            synthetic: (n, H, W) or (n, C, H, W), unsigned integers: this worker's part.
            real: (m, H, W) or (m, C, H, W), of the same H, W and C: this worker's part.
            history: of capacity `config.buffer_size`, the same one for all workers; None for
                D to see none but fresh images.

        Raises:
            ValueError: half a batch is not a multiple of the number of workers.
        """
        self.config = config
        self.history = history
        self.peers = peers if peers is not None else Peers()
        self.half = config.batch_size // 2 // self.peers.size
        """this worker's share of half a batch"""
        if self.half * self.peers.size * 2 != config.batch_size:
            raise ValueError(
                f"{self.peers.size} workers cannot share a batch of {config.batch_size} and its "
                f"halves evenly; make batch_size a multiple of {2 * self.peers.size}"
            )
        self.device = torch.device(device)
        self.images = {"synthetic": synthetic, "real": real}
        self.refiner = Refiner(config.refiner, seed=config.seed)
        if config.refiner_init == "identity":
            self.refiner.initialise_as_identity()
        self.discriminator = Discriminator(
            config.discriminator,
            seed=config.seed + 1,
            image_size=(synthetic.shape[-2], synthetic.shape[-1]),
        )
        for network in (self.refiner, self.discriminator):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.refiner_optimiser = _optimiser(config, self.refiner, config.refiner_lr)
        self.discriminator_optimiser = _optimiser(
            config, self.discriminator, config.discriminator_lr
        )
        self._refine = self._forward(self.refiner)
        self._judge = self._forward(self.discriminator)
        self._resident = {
            name: resident(images, self.device)
            for name, images in self.images.items()
            if self.device.type == "cuda"
        }
        self.average = deepcopy(self.refiner) if config.ema_decay is not None else None
        self.clock = 0
        self.num_draws = 0
        self.num_refiner_updates = 0
        self.num_refined = 0
        """images that all workers have refined in their updates, for measuring speed"""
        self.waited_s = {"data": 0.0, "history": 0.0}
        """that the networks stood still for images, and for the history"""
        self._exchanges = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._past: Future[np.ndarray] | None = None

    def _forward(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """The network's forward pass in the configured precision, to float32."""
        run = torch.compile(network) if self.config.compile else network
        if self.config.precision == "float32":
            return run

        def forward(images: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                made: Tensor = run(images)
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
        phase, _ = self.config.place(self.clock + 1)
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

    def draw(self, domain: Literal["synthetic", "real"], n: int) -> Tensor:
        """n images of a domain, with replacement: (n, C, H, W) float32 in [-1, 1]."""
        started = time.perf_counter()
        seeds = [self.config.seed, self.peers.rank, self.num_draws]
        rows = np.random.default_rng(seeds).integers(len(self.images[domain]), size=n)
        self.num_draws += 1
        there = self._resident.get(domain)
        if there is not None:
            chosen = there[torch.from_numpy(rows).to(self.device)].float()
            images = normalised(chosen, self.config.full_scale)
        else:
            images = to_network(self.images[domain][rows], self.config.full_scale)
            images = images.to(self.device, non_blocking=True)
        self.waited_s["data"] += time.perf_counter() - started
        return images

    def refiner_step(self, *, adversarial: bool = True) -> Metrics:
        """One update of R by equation (4), D held fixed; without D, by its second term alone."""
        synthetic = self.draw("synthetic", 2 * self.half)
        refined = self._refine(synthetic)
        self.num_refined += self.config.batch_size
        metrics: Metrics = {}
        if adversarial:
            self.discriminator.requires_grad_(False)  # gradients pass through D, not into it
            loss, realism, regularisation = refiner_loss(
                self._judge(refined),
                refined,
                synthetic,
                lambda_reg=self.config.lambda_reg,
                psi=self.config.psi,
            )
            metrics["realism_loss"] = realism.detach()
        else:
            loss = regularisation = self_regularisation(refined, synthetic, self.config.psi)
        metrics["regularisation_loss"] = regularisation.detach()
        metrics["refiner_loss"] = loss.detach()
        metrics["refiner_gradient_norm"] = self._update(
            "refiner", self.refiner_optimiser, loss, {"synthetic": synthetic, "refined": refined}
        )
        self.num_refiner_updates += 1
        self._update_average()
        with torch.no_grad():
            metrics["mean_abs_delta"] = (refined - synthetic).abs().mean()
        return metrics

    def discriminator_step(self) -> Metrics:
        """One update of D by equation (2): b real, b/2 fresh and b/2 past refined images.

        Without a history, b fresh ones. All of them pass through float16, the history's precision:
        D must not tell the domains, or past from present, by their rounding.
        """
        num_fresh = self.half if self.history is not None else 2 * self.half
        with torch.no_grad():
            fresh = self._refine(self.draw("synthetic", num_fresh)).to(torch.float16)
            real = self.draw("real", 2 * self.half).to(torch.float16).float()
        self.num_refined += num_fresh * self.peers.size
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
            self._past = self._exchanges.submit(self.history.exchange, images, self.peers.rank)
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
        self.waited_s["history"] += time.perf_counter() - started
        return torch.from_numpy(past).to(self.device)

    def wait_for_history(self) -> None:
        """Until every worker's exchange is done: then the history is that of this step."""
        if self._past is not None:
            self._past.result()
        self.peers.wait_for_all(self.device)

    def history_metrics(self) -> dict[str, float]:
        """How full the history is, and how old is what it last handed out, in exchanges."""
        if self.history is None:
            return {}
        if self._past is not None:
            self._past.result()
        found = self.history.statistics()
        ages = zip(("p10", "p50", "p90"), found.age_given, strict=True)
        given = {f"history_age_{name}": age for name, age in ages if not math.isnan(age)}
        return {"history_size": float(found.size), **given}

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
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [
            parameter.grad
            for group in optimiser.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        loss = loss.detach()
        self.peers.mean([*gradients, loss])  # the loss too: all workers stop, or none
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            found = f" (loss {float(loss):.6g}, gradient norm {float(norm):.6g})"
            raise self._stopped(f"{name} loss or its gradient", found, batch)
        optimiser.step()
        return norm

    def _stopped(self, what: str, found: str, batch: Mapping[str, Tensor]) -> NonFiniteLoss:
        phase, step = self.config.place(self.clock + 1)
        return NonFiniteLoss(
            f"{phase} step {step}: {what} is not finite{found}; stopped before the update",
            {name: images.detach().float().cpu().numpy() for name, images in batch.items()},
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None or self.config.ema_decay is None:
            return
        # The first updates count for more, so that the random start is soon forgotten.
        warm_up = (1 + self.num_refiner_updates) / (10 + self.num_refiner_updates)
        weight = 1 - min(self.config.ema_decay, warm_up)
        for mean, value in zip(self.average.parameters(), self.refiner.parameters(), strict=True):
            mean.lerp_(value, weight)

    def _networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {
            "refiner": self.refiner,
            "discriminator": self.discriminator,
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
            for place, state in optimiser.state_dict()["state"].items():
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        tensors[f"{owner}.{place}.{name}"] = value
        return tensors

    def counters(self) -> dict[str, JsonValue]:
        """What `tensors` leaves out of the state."""
        return {
            "clock": self.clock,
            "num_draws": self.num_draws,
            "num_refiner_updates": self.num_refiner_updates,
        }

    def load(self, tensors: Mapping[str, Tensor], counters: Mapping[str, JsonValue]) -> None:
        """Become what `tensors` and `counters` described, to the last bit."""
        for owner, network in self._networks().items():
            network.load_state_dict(_below(tensors, owner))
        for owner, optimiser in self._optimisers().items():
            parameters = optimiser.param_groups[0]["params"]
            for dotted, value in _below(tensors, owner).items():
                place, name = dotted.split(".", 1)
                parameter = parameters[int(place)]
                if value.shape == parameter.shape:  # in the parameter's own memory layout
                    value = torch.empty_like(parameter).copy_(value)
                optimiser.state[parameter][name] = value
        self.clock = _whole(counters["clock"])
        self.num_draws = _whole(counters["num_draws"])
        self.num_refiner_updates = _whole(counters["num_refiner_updates"])

    def resume_history(self) -> None:
        """Take up the answer of the last exchange, after `load` and the history's own `restore`."""
        past = self.history.last(self.peers.rank) if self.history is not None else None
        if past is not None and len(past) == self.half:  # not of a run of more or fewer workers
            self._past = Future()
            self._past.set_result(past)


def _below(tensors: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    prefix = f"{owner}."
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _whole(value: JsonValue) -> int:
    if not isinstance(value, int):
        raise ValueError(f"expected a whole number, found {value!r}")
    return value
