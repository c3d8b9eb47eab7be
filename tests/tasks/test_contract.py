"""The tasks' contract: written in `tasks.contract`, kept by every task, and enough for one that classifies nothing."""

import inspect
import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from tests.tasks.scores import Scores
from zoomexp.callbacks.checkpoints import Checkpoints
from zoomexp.callbacks.history import History
from zoomexp.callbacks.perturbation import Perturbation
from zoomexp.callbacks.pictures import Pictures
from zoomexp.callbacks.progress import RunProgress
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.zoom_distillation import ZoomDistillation
from zoomexp.metrics.quantity import Quantity, find
from zoomexp.optimizer import make_optimizer
from zoomexp.results.collect import finished_run
from zoomexp.results.filling import fill
from zoomexp.results.record import RunRecord
from zoomexp.results.report.page import Facts, index_page, papers_page
from zoomexp.results.report.runs import read_runs
from zoomexp.results.summary import run_table
from zoomexp.results.table import Column, Row, Table
from zoomexp.run.epochs import Epochs
from zoomexp.run.fit import fit_and_test
from zoomexp.run.last_checkpoint import LastCheckpoint
from zoomexp.run.prepare import check_ready
from zoomexp.tasks.alpha_curve import AlphaCurve
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.contract import Task
from zoomexp.tasks.detection import Detection
from zoomexp.tasks.distillation import ZoomerDistillation
from zoomexp.tasks.nine_crop import NineCrop
from zoomexp.tasks.probe import Probe
from zoomexp.tasks.segmentation import Segmentation
from zoomexp.tasks.training import TrainedModel
from zoomexp.tokens.ragged import Ragged

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning", "ignore:.*sync_dist")


def found_share(predictions) -> float:
    """The share of all objects that were found, in percent: no mean over images, which have one or two."""
    return 100 * float(predictions["found"].mean())


FOUND = Quantity("found", "objects found", "%", True, 1, (0.0, 100.0), test="bootstrap", shown=True,
                 measure=f"{__name__}.found_share")  # fmt: skip
DISTANCE = Quantity("distance", "mean distance", "px", False, 3, (0.0, None), True, "paired_t", shown=True)


class TwoObjects(TrainedModel):
    """Says where up to two objects are: points in images that are not square, (B, 2, 2) against ragged (T, 2)."""

    quantities = (FOUND, DISTANCE, *TrainedModel.quantities)
    main = FOUND

    def __init__(self, **common):
        super().__init__(**common)
        self.kept = nn.ModuleDict(
            {f"{split}_{key}": MeanMetric() for split in ("val", "test") for key in ("found", "distance")}
        )

    def targets(self, batch):
        return Ragged(batch["points"], batch["count"])

    def losses(self, outputs, targets, epoch):
        return {"square": (self.said(outputs, targets) - targets.values).square().sum(1).mean()}

    def said(self, outputs, targets):
        """The points (T, 2) said of the objects there are: of an image with one, the first."""
        return torch.cat([said[:count] for said, count in zip(outputs, targets.sizes, strict=True)])

    def apart(self, outputs, targets):
        return Ragged((self.said(outputs, targets) - targets.values).norm(dim=1), targets.lengths)

    def score(self, split, outputs, targets, batch):
        apart = self.apart(outputs, targets)
        self.kept[f"{split}_found"].update((apart.values < 1).float())
        self.kept[f"{split}_distance"].update(self.of_images(apart))

    def of_images(self, apart):
        return torch.stack([values.mean() for values in apart.values.split(apart.sizes)])

    def results(self, split):
        found = {}
        for key in ("found", "distance"):
            found[f"{split}/{key}"] = self.in_its_unit(key, self.kept[f"{split}_{key}"].compute())
            self.kept[f"{split}_{key}"].reset()
        return found

    def outcomes(self, outputs, targets):
        apart = self.apart(outputs, targets)
        return {"found": apart.with_values(apart.values < 1), "distance": self.of_images(apart)}

    def pictures(self, batch, count, data):
        return {"points": batch["image"][:count].sigmoid().expand(-1, 3, -1, -1)}


class Points(nn.Module):
    """Two points of an image 6 pixels high and 8 wide."""

    def __init__(self):
        super().__init__()
        self.fc, self.insertion_sites = nn.Linear(48, 4), []

    def forward(self, x):
        return self.fc(x.flatten(1)).unflatten(1, (2, 2))


def scenes(images, seed, size=5):
    """Batches of images with a bright pixel for each of one or two objects, the left one first."""
    draw, batches = np.random.default_rng(seed), []
    for start in range(0, images, size):
        count = draw.integers(1, 3, min(size, images - start))
        batch, points = torch.zeros(len(count), 1, 6, 8), []
        for i, objects in enumerate(count):
            columns = np.sort(draw.choice(8, objects, replace=False))
            for column, row in zip(columns, draw.integers(0, 6, objects), strict=True):
                batch[i, 0, row, column] = 1
                points.append([float(column), float(row)])
        index = torch.arange(start, start + len(count)).flip(0)
        batches.append({"image": batch, "index": index, "points": torch.tensor(points), "count": torch.tensor(count)})
    return batches


class Scenes(pl.LightningDataModule):
    """What a run asks of its data."""

    num_classes, channels, image_size, batch_size = 0, 1, (6, 8), 5
    mean, std = [0.0], [1.0]

    def train_dataloader(self):
        return DataLoader(scenes(60, 0), batch_size=None)

    def val_dataloader(self):
        return DataLoader(scenes(12, 1), batch_size=None)

    def test_dataloader(self):
        return DataLoader(scenes(23, 2), batch_size=None)


class Logger(pl.loggers.CSVLogger):
    """A logger that takes images."""

    images: dict = {}  # noqa: RUF012

    def log_image(self, name, arrays, step, caption):
        self.images[name] = (np.stack(arrays).shape, caption)


CHOICES = {"dataset": "scenes", "backbone": "points"} | dict.fromkeys(
    ("attention", "recipe", "optimizer", "scheduler", "loss", "mixing", "callbacks"), "none"
)


def do(root, seed, epochs=3):
    torch.manual_seed(seed)
    record = RunRecord(root, {"seed": seed, "dataset": {}}, CHOICES, [])
    watch = [Epochs(), Checkpoints(), History(), Perturbation(), Pictures(every=1, count=3), RunProgress()]
    watch += [LastCheckpoint()]
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=record.folder,
                         enable_model_summary=False, num_sanity_val_steps=0,
                         callbacks=watch)  # fmt: skip
    task = TwoObjects(model=Points(), loss=nn.Identity(), scheduler=None, num_classes=0, seed=seed,
                      optimizer=partial(make_optimizer, opt="momentum", lr=0.05))  # fmt: skip
    with record.claimed("seed: 0\n"):
        check_ready(trainer, task, data := Scenes(), None, "best")
        logger = Logger(root, name="csv", version=str(seed))
        fit_and_test(trainer, task, data, loggers=[logger], record=record, evaluate="best")
    return record.folder, task, logger


def test_a_task_of_two_objects_runs_to_its_record_table_and_report(tmp_path, capfd):
    (folder, task, logger), (other, *_) = do(tmp_path, 0), do(tmp_path, 1)
    facts = json.loads((folder / "metrics.json").read_text())
    metrics = facts["metrics"]
    with np.load(folder / "predictions.npz") as stored:
        kept = dict(stored)
    # by hand, one image at a time
    batches = scenes(23, 2)
    apart, order = [], []
    with torch.no_grad():
        for batch in batches:
            points = batch["points"].split(batch["count"].tolist())
            for image, index, objects in zip(batch["image"], batch["index"], points, strict=True):
                said = task.model(image[None])[0, : len(objects)]
                apart.append((said - objects).norm(dim=1).numpy())
                order.append(int(index))
    apart = [apart[place] for place in np.argsort(order)]
    np.testing.assert_array_equal(kept["index"], np.arange(23))
    np.testing.assert_array_equal(kept["found.lengths"], [len(one) for one in apart])
    np.testing.assert_array_equal(kept["found"], np.concatenate(apart) < 1)
    np.testing.assert_allclose(kept["distance"], [one.mean() for one in apart], rtol=1e-5)
    assert metrics["test/found"] == pytest.approx(100 * np.mean(np.concatenate(apart) < 1), abs=1e-4)
    assert metrics["test/distance"] == pytest.approx(np.mean([one.mean() for one in apart]), rel=1e-5)
    assert metrics["val/found_best"] >= metrics["val/found"]
    assert (facts["main"], [one["key"] for one in facts["quantities"]]) == ("found", ["found", "distance"])
    assert facts["cost"]["macs"] == 48 * 4 and facts["cost"]["test_img_per_s"] > 0
    assert logger.images["points"] == ((3, 6, 8, 3), ["image 4", "image 3", "image 2"])
    assert f"val/found {metrics['val/found']:.1f}" in capfd.readouterr().err

    console_rows = [cell for column in run_table(facts, folder).columns for cell in column.cells]
    assert "test objects found" in console_rows and f"{metrics['test/distance']:.3f} px" in console_rows
    columns = tuple(Column(f"test/{one.key}", one.name, one.unit, one.higher_is_better) for one in (FOUND, DISTANCE))
    table = Table("p/t", "t", "s", columns, (Row("a", ("x",)), Row("b", ("y",), baseline="a")))
    filled = fill(table, {"a": [finished_run(folder)], "b": [finished_run(other)]}, "paper", "")
    tests = [cell.test for cell in filled.rows[1].cells]
    assert [test.name for test in tests] == ["bootstrap over images", "paired t"]
    difference = finished_run(other).metrics["test/found"] - metrics["test/found"]
    assert tests[0].difference == pytest.approx(difference, abs=1e-3)
    runs, skipped = read_runs(tmp_path / "runs")
    assert (len(runs), skipped) == (2, [])
    facts = Facts("paper", 2, "", "", "")
    text = index_page([filled], runs, [], [], facts) + papers_page([filled], facts)
    assert "Objects found (%)" in text and "top-1" not in text


def made(kind):
    """A task, and a batch of it."""
    torch.manual_seed(0)
    common = {
        "scheduler": None,
        "num_classes": 3,
        "seed": 0,
        "optimizer": partial(make_optimizer, opt="momentum", lr=0.1),
    }
    batch = {"image": torch.randn(5, 1, 4, 4), "index": torch.arange(5), "label": torch.tensor([0, 1, 2, 0, 1])}
    if kind is TwoObjects:
        return TwoObjects(model=Points(), loss=nn.Identity(), **common), scenes(5, 0)[0]
    if kind is ZoomerDistillation:
        maps = {"map": torch.rand(5, 2, 2)}
        return kind(model=Scores(), loss=ZoomDistillation(), **common), batch | maps
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return kind(model=net, loss=CrossEntropy(), **common), batch


@pytest.mark.parametrize("kind", [Classifier, NineCrop, ZoomerDistillation, TwoObjects])
def test_a_task_keeps_the_contract(kind):
    task, batch = made(kind)
    images = len(batch["image"])
    members = {name for name, member in vars(Task).items() if inspect.isfunction(member) and name[0] != "_"}
    assert all(hasattr(task, name) for name in Task.__annotations__)
    for name in members - {"__init__"}:
        asked = list(inspect.signature(getattr(Task, name)).parameters)
        assert list(inspect.signature(getattr(kind, name)).parameters) == asked, name
    assert task.main in task.quantities

    prepared, targets = task.prepared(batch)
    outputs = task.outputs(prepared)
    terms = task.losses(outputs, targets, 0.5)
    assert terms and all(value.dim() == 0 and value.requires_grad for value in terms.values())
    assert all(hit.shape == (images,) and hit.dtype == torch.bool for hit in task.hits(outputs, targets).values())

    outcomes = task.outcomes(outputs.detach(), targets)
    assert all(len(o.lengths if isinstance(o, Ragged) else o) == images for o in outcomes.values())
    for quantity in task.quantities:
        if quantity.per_image:
            assert outcomes[quantity.key].shape == (images,), quantity.key
            assert (outcomes[quantity.key].dtype == torch.bool) is (quantity.test == "mcnemar"), quantity.key
    for split in ("val", "test"):
        task.score(split, outputs.detach(), task.targets(batch), batch)
        found = task.results(split)
        assert all(find(name, task.quantities) for name in found), found.keys()
        assert {q.key for q in task.quantities if q.per_image} <= {name.partition("/")[2] for name in found}
        if split == "test":
            for key in (quantity.key for quantity in task.quantities if quantity.per_image):
                mean = task.in_its_unit(key, outcomes[key].float().mean())
                torch.testing.assert_close(found[f"test/{key}"], mean, rtol=1e-4, atol=1e-4)
    arrays = {name: value.numpy() for name, value in outcomes.items() if not isinstance(value, Ragged)}
    tables, further = task.tables(arrays | {"label": np.array([0, 1, 2, 0, 1])}, ("a", "b", "c"))
    assert all(name.startswith("test/") and isinstance(value, float) for name, value in further.items())
    assert all(len(table) == 3 for table in tables.values())
    classes = task.explained(batch)
    assert classes is None or (classes.shape == (images,) and classes.dtype == torch.int64)


def test_every_task_of_the_package_is_asked():
    kinds = {Classifier, NineCrop, AlphaCurve, Probe, ZoomerDistillation, Detection, Segmentation}
    own = {kind for kind in descendants(TrainedModel) if kind.__module__.startswith("zoomexp.")}
    assert own == kinds  # with networks of their own: test_alpha_curve.py, test_probe.py ...


def descendants(kind):
    return {one for child in kind.__subclasses__() for one in (child, *descendants(child))}
