"""How little it takes to change what a tested network says: FGSM and PGD on the test images, and whether they can."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from zoomexp.arguments import integer, list_of
from zoomexp.callbacks.still_images import in_test_mode
from zoomexp.errors import InputError
from zoomexp.processes import first_process
from zoomexp.relevance.extraction import told
from zoomexp.robustness.attacks import check_installed
from zoomexp.robustness.pixels import Pixels
from zoomexp.robustness.trial import Trial, scores, tried
from zoomexp.run.stored_run import restored, stored_config
from zoomexp.tasks.contract import Batch, Task, task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import data_of

FIELD = "callbacks.robustness"
CHUNKS = {"cpu": 20}  # images attacked at once: a line of progress each; no slower on a CPU than more of them
CHUNK = 100  # on other devices


class Robustness(NoBatchHooks, pl.Callback):
    """Logs `test/robust/...` of the first test images; nothing else that the test measures changes.

    The threat: the attacker knows the network, maps and all, and may move each pixel (in [0, 1], before it is
    normalised) by eps / 255. In percent of the images: `clean`, `fgsm@<eps>` and `pgd<steps>@<eps>`, right at that eps
    and all smaller ones of the list, `success@<eps>`, flipped by PGD among those right without attack, and `auc`, the
    mean of PGD's accuracies over the list; in 255ths `median_eps`, the median of the smallest eps that flips an image.

    At the eps `at`: `map_shift`, the correlation of the maps with and without attack, and `pointing_game` of those with
    it. And whether PGD's failures mean anything: `missed/<check>`, images that PGD leaves right and a check flips
    (`missed`: any of them) of all that are checked, see `robustness.masking.checks`, and `missed_of_right`, `missed` of
    those alone that PGD leaves right (left out where it leaves none); `transfer` and `transfer_back`, this network's
    accuracy under examples made on another one, and the other's under this one's. `predictions.npz` has
    `robust/pgd<steps>@<eps>` and `robust/eps` of each image; NaN where it was not attacked. Of several processes each
    attacks `images`, and their scores are averaged.

    Args:
        images: How many.
        eps: Radii, in 255ths.
        steps: Of PGD.
        restarts: Of PGD, from other points of the ball.
        refine: PGD at so many more radii for each image, between those of the list, for its smallest.
        at: The radius, of the list, at which more is looked at.
        checked: How many images are checked for what PGD misses.
        long_steps: Of the longer PGD among the checks; 0: none.
        queries: Of Square among the checks; 0: none.
        transfer: The folder of a finished run on the same data set, or None.

    Raises:
        InputError: An argument out of its range.
    """

    def __init__(
        self,
        images: int = 1000,
        eps: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        steps: int = 20,
        restarts: int = 1,
        refine: int = 1,
        at: float = 1,
        checked: int = 200,
        long_steps: int = 100,
        queries: int = 500,
        transfer: str | Path | None = None,
    ) -> None:
        for name, value in {"images": images, "steps": steps, "restarts": restarts}.items():
            integer(f"{FIELD}.{name}", value)
        for name, value in {"refine": refine, "checked": checked, "long_steps": long_steps, "queries": queries}.items():
            integer(f"{FIELD}.{name}", value, 0)
        list_of(f"{FIELD}.eps", eps, (int, float), "numbers above 0, each once")
        if not eps or min(eps) <= 0 or len({f"{one:g}" for one in eps}) < len(eps):
            raise InputError(f"{FIELD}.eps={list(eps)} must be a list of numbers above 0, each once")
        if at not in eps:
            raise InputError(f"{FIELD}.at={at} must be one of {FIELD}.eps, {', '.join(f'{one:g}' for one in eps)}")
        self.images, self.transfer = images, transfer
        self.trial = Trial(tuple(eps), steps, restarts, refine, at, long_steps, queries, checked)
        self._other: Pixels | None = None
        self._found: dict[str, list[Tensor]] = defaultdict(list)
        self._left = images

    def check_run(self, trainer: pl.Trainer, task: Task, data: Any) -> None:
        """Refuse, before anything is written, what cannot be attacked; take the other network.

        Raises:
            InputError: No classifier of images alone, weights in half precision, another run of other data, or a
                library that is not installed.
        """
        check_installed(FIELD, "captum")
        if self.trial.queries:
            check_installed(f"{FIELD}.queries={self.trial.queries}", "pyautoattack")
        if not classifies_images(task):
            raise InputError(f"{FIELD}: attacks what gives each image one class, and reads nothing else; leave it out")
        if trainer.precision in ("16-true", "bf16-true", "transformer-engine"):
            raise InputError(f"trainer.precision={trainer.precision}: {FIELD} needs gradients in fp32; choose 32-true")
        if self.transfer is not None:
            shape = {"num_classes": data.num_classes, "in_chans": data.channels, "image_size": data.image_size}
            field = f"{FIELD}.transfer"
            dataset = stored_config(self.transfer, field).dataset
            self._other = Pixels(restored(self.transfer, field, **shape), list(dataset.mean), list(dataset.std)).eval()

    def on_test_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Begin anew."""
        self._found.clear()
        self._left = images_of_process(trainer, self.images)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Attack a batch's images, if there are too few yet."""
        data, size = data_of(trainer), len(batch["image"])
        count, begun = min(self._left, size), sum(map(len, self._found["clean"]))
        with torch.inference_mode(False), torch.enable_grad(), in_test_mode(task_of(pl_module).model):
            net = Pixels(task_of(pl_module).model, data.mean, data.std).to(pl_module.device)
            for line in told(self._chunks(net, batch, count), f"robustness, from image {begun + 1}"):
                if first_process():
                    sys.stderr.write(f"{line}\n")
        self._left -= count
        kept = [name for name in self._found if name == "eps" or name.startswith(self.trial.pgd)]
        found = {f"robust/{name}": torch.cat(self._found[name])[begun:] for name in kept}
        cast(Any, pl_module).keep_predictions({name: padded(values, size) for name, values in found.items()})

    def _chunks(self, net: Pixels, batch: Batch, count: int) -> Iterator[tuple[int, int]]:
        """Attack `count` images; yields how many are done, and how many are left of the whole test."""
        other = None if self._other is None else self._other.to(net.mean.device)
        size = CHUNKS.get(net.mean.device.type, CHUNK)
        for start in range(0, count, size):
            chunk = slice(start, min(start + size, count))
            given = {name: batch[name][chunk].clone() for name in ("image", "label", "box") if name in batch}
            checked = max(0, self.trial.checked - sum(map(len, self._found["clean"])))
            seen = (net.of(given["image"]), given["label"], given.get("box"))
            for name, values in tried(self.trial, net, other, *seen, checked).items():
                self._found[name].append(values.cpu())
            yield chunk.stop, self._left

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores."""
        found = {name: torch.cat(values) for name, values in self._found.items()}
        pl_module.log_dict({f"test/robust/{k}": v for k, v in scores(self.trial, found).items()}, sync_dist=True)


def classifies_images(task: Task) -> bool:
    """Whether a network gives each image one class and reads nothing beside images."""
    return getattr(task, "logit_classes", None) is not None and tuple(task.inputs) == ("image",)


def images_of_process(trainer: pl.Trainer, wanted: int) -> int:
    """How many of the wanted test images there are for each process."""
    return min(wanted, -(-len(data_of(trainer).part("test")) // trainer.world_size))


def padded(values: Tensor, size: int) -> Tensor:
    """Values (B,) of the first images as (size,) floats; NaN behind them.

    >>> padded(torch.tensor([True, False]), 3)
    tensor([1., 0., nan], dtype=torch.float16)
    """
    kind = torch.float16 if values.dtype == torch.bool else values.dtype
    whole = torch.full((size,), torch.nan, dtype=kind)
    whole[: len(values)] = values.to(kind)
    return whole
