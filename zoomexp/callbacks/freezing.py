"""Training a part of a network; the rest is frozen, for good or until a later epoch."""

import sys

import pytorch_lightning as pl
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoomexp.arguments import integer, one_of
from zoomexp.errors import InputError
from zoomexp.learning_rates import host_of
from zoomexp.parts import PARTS, block_count, part_parameters
from zoomexp.processes import first_process
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Freezing(NoBatchHooks, pl.Callback):
    """Trains a part, at first or throughout. What is frozen gets no gradients, no decay and no new batch statistics.

    Args:
        part: What is trained: "all", "head", "module" (the inserted ones, and what a token method brings along),
            "module_and_head" or "last_blocks" (with the modules and the head).
        blocks: How many, of "last_blocks".
        all_from: The epoch, counted from 0, from which everything is trained; None: never. Training the head first
            keeps features from being distorted by a random head's gradients (Kumar et al., arXiv 2202.10054).
        unfreeze_every: Epochs after each of which one more block is trained, from the last one on, as in ULMFiT
            (Howard and Ruder, arXiv 1801.06146); None: no block.
        batch_norms: "trained": they normalise by each batch of training images where their part is trained; "fixed":
            those of the host normalise by the statistics of the weights it came with, in training as in the test, and
            only their scales and shifts learn. A last layer that suits the features in the test suits them in training
            only so, and small batches have noisy statistics. Inserted modules', and those of what stands in the place
            of the host's last layer, are always trained with them.

    Raises:
        InputError: A value out of its range.
    """

    def __init__(
        self,
        part: str,
        blocks: int = 0,
        all_from: int | None = None,
        unfreeze_every: int | None = None,
        batch_norms: str = "trained",
    ) -> None:
        one_of("train.part", part, PARTS)
        one_of("train.batch_norms", batch_norms, ("trained", "fixed"))
        integer("train.blocks", blocks, 1 if part == "last_blocks" else 0)
        for name, value in {"all_from": all_from, "unfreeze_every": unfreeze_every}.items():
            if value is not None:
                integer(f"train.{name}", value)
        if all_from is not None and unfreeze_every is not None:
            raise InputError("train.all_from and train.unfreeze_every: only one of them can be given")
        self.part, self.blocks, self.all_from, self.unfreeze_every = part, blocks, all_from, unfreeze_every
        self.batch_norms = batch_norms

    def prepare(self, net: nn.Module) -> None:
        """Freeze what is never trained, before the optimizer looks for what is.

        Raises:
            InputError: The network has no such part.
        """
        self.trainable = {name for name, value in net.named_parameters() if value.requires_grad}
        part_parameters(net, self.part, self.blocks)
        if self.unfreeze_every is not None:
            block_count(net)
        if self.all_from is None and self.unfreeze_every is None:
            self._freeze(net, 0)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what several processes cannot do: DDP learns once, at the start, whose gradients it will see."""
        changes = self.all_from is not None or self.unfreeze_every is not None
        if changes and trainer.world_size > 1:
            raise InputError(
                "train.all_from, train.unfreeze_every: on one device only; train in two runs: checkpoint=FILE"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze what this epoch does not train."""
        net = task_of(pl_module).model
        before = trained_count(net)
        self._freeze(net, trainer.current_epoch)
        count, own = trained_count(net), sum(p.numel() for p in net.parameters())
        if first_process() and (count != before or not trainer.global_step):
            sys.stderr.write(f"epoch {trainer.current_epoch + 1}: {count:,} of {own:,} parameters are trained\n")

    def trained(self, net: nn.Module, epoch: int) -> set[str]:
        """The names of the parameters that an epoch trains."""
        if self.all_from is not None and epoch >= self.all_from:
            return set(self.trainable)
        names = part_parameters(net, self.part, self.blocks)
        if self.unfreeze_every is not None and (more := self.blocks + epoch // self.unfreeze_every):
            most = block_count(net)
            names |= self.trainable if more > most else part_parameters(net, "last_blocks", more)
        return names & self.trainable

    def _freeze(self, net: nn.Module, epoch: int) -> None:
        names, (host, _) = self.trained(net, epoch), host_of(net)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in names)
            if name not in names:
                parameter.grad = None
        for path, module in net.named_modules():
            if isinstance(module, _BatchNorm):
                of_host = path.startswith(host) and "inserted" not in path.split(".")
                fixed = self.batch_norms == "fixed" and of_host
                module.train(net.training and not fixed and not frozen_norm(net, path))


def frozen_norm(net: nn.Module, path: str) -> bool:
    """Whether the batch norm at `path` is frozen: by its own parameters, or where it has none by its neighbours'."""
    own = list(net.get_submodule(path).parameters())
    beside = own or list(net.get_submodule(path.rpartition(".")[0]).parameters())
    return bool(beside) and not any(parameter.requires_grad for parameter in beside)


def trained_count(net: nn.Module) -> int:
    """How many values of a network are trained."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
