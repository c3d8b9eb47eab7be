"""A data module with a teacher's labels of places: which batches have them, of which image, and when they are made."""

import pytest
import timm
import torch

from tests.datasets.test_with_maps import Toy
from zoomexp.datasets.with_dense_labels import WithDenseLabels
from zoomexp.errors import InputError
from zoomexp.relevance.dense_labels import DenseLabels

CALLS = []


class Counted(DenseLabels):
    def __call__(self, model, images, targets):
        CALLS.append(len(images))
        return super().__call__(model, images, targets)


def teacher(num_classes=4):
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=num_classes, in_chans=1, output_stride=8).eval()


def labelled(folder, net=None, top=3, **options):
    data = Toy(data_dir="nowhere", batch_size=8, mean=[0.5], std=[0.5], eval_batch_size=5, val_fraction=0.2)
    made = WithDenseLabels(data, teacher=net or teacher(), method=Counted(top), folder=folder, batch_size=7, **options)
    made.prepare_data()
    made.setup("fit")
    return made


@pytest.fixture(autouse=True)
def forget_calls():
    CALLS.clear()


@pytest.mark.parametrize("truth", [False, True])
def test_training_batches_hold_the_labels_of_each_image(tmp_path, truth):
    data = labelled(tmp_path, ground_truth=truth)
    assert not data.has_maps and data.has_dense_labels
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 4
    for batch in batches:
        assert set(batch) == {"image", "label", "index", "dense_labels", "view", *(["dense_truth"] if truth else [])}
        expected = DenseLabels(3)(teacher(), batch["image"], batch["label"])  # seen whole: this set does not crop
        assert batch["dense_labels"].shape == (8, 2, 3, 2, 2) and batch["dense_labels"].dtype == torch.float16
        torch.testing.assert_close(batch["dense_labels"].float(), expected, rtol=0, atol=2e-3)
        assert torch.equal(batch["view"], torch.eye(3).expand(8, 3, 3))
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert all(set(batch) == {"image", "label", "index"} for batch in loader)


def test_labels_are_made_once(tmp_path):
    labelled(tmp_path)
    labelled(tmp_path)
    assert sum(CALLS) == 32
    with pytest.raises(InputError, match=r"has layers \[2, 3\], wanted \[2, 2\]; take another file$"):
        labelled(tmp_path, top=2)


def test_a_teacher_of_other_classes_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"^relevance=dense_labels: the teacher knows 5 classes, dataset=toy has 4"):
        labelled(tmp_path, net=teacher(5))
    assert not list(tmp_path.glob("*.npy"))
    with pytest.raises(InputError, match=r"^relevance\.ground_truth=1 must be true or false$"):
        labelled(tmp_path, ground_truth=1)
