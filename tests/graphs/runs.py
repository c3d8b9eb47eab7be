"""Small runs whose steps are Lightning's own, or replayed by the stand-in."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import initialize_config_dir

from tests.graphs.stand_in import StandIn
from zoomexp.graphs.loop import StepGraphs
from zoomexp.run.build import build
from zoomexp.run.compose import compose_run
from zoomexp.run.epochs import epochs_of

ROOT = Path(__file__).parents[2]
DIGITS = ("dataset=digits", "dataset.test_size=30", "logger=none")
SMALL = (*DIGITS, "dataset.train_size=84", "dataset.batch_size=16", "backbone=resnet20", "attention=loupe",
         "trainer.max_epochs=3")  # fmt: skip
LONG = (*DIGITS, "dataset.train_size=400", "dataset.batch_size=5", "backbone=resnet20", "trainer.max_epochs=3")


class Watch(pl.Callback):
    """What the hooks of each step are given."""

    def __init__(self):
        self.losses, self.labels, self.begun = [], [], 0

    def on_train_batch_start(self, *_):
        self.begun += 1

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.losses.append(float(outputs["loss"]))
        self.labels.append(batch["label"].tolist())


class Ended:
    """A run that was built and, by `fit`, done."""

    def __init__(self, folder, graph, *overrides, recorder=StandIn, kind="cpu", callbacks=(), base=SMALL):
        self.recorders = []
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            run = compose_run([*base, f"output_dir={folder}", *overrides])
            self.trainer, self.task, self.data = build(run.cfg, Path(folder))
        graphs = StepGraphs(graph, self._recorder(recorder), kind)
        kept = [one for one in self.trainer.callbacks if not isinstance(one, StepGraphs)]
        self.trainer.callbacks = [*kept, graphs, *callbacks, watch := Watch()]
        self.watch = watch

    def _recorder(self, make):
        def made(device):
            self.recorders.append(make(device))
            return self.recorders[-1]

        return made

    def fit(self, **options):
        Path(self.trainer.default_root_dir).mkdir(exist_ok=True)
        self.trainer.fit(self.task, datamodule=self.data, weights_only=True, **options)
        return self

    @property
    def metrics(self):
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    @property
    def weights(self):
        return self.task.model.state_dict()

    @property
    def rows(self):
        return [
            {k: v for k, v in row.items() if k not in ("epoch_s", "img_per_s")} for row in epochs_of(self.trainer).rows
        ]


def same(one, other):
    """The two runs did the same to the last bit."""
    assert one.watch.losses == other.watch.losses and one.watch.labels == other.watch.labels
    assert one.watch.begun == other.watch.begun == len(one.watch.losses)
    assert one.rows == other.rows and one.metrics == other.metrics
    assert one.trainer.global_step == other.trainer.global_step
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
