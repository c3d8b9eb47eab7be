"""What a library refuses while a run goes on: one line that names the option, unless a user's code takes part."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from timm.data import Mixup
from torch import nn
from torch.utils.data import DataLoader

from zoomexp.errors import DivergedError, FaultError, InputError
from zoomexp.run.library_errors import OURS, named_errors

NARROW = "Expected more than 1 value per channel when training"
FREEZING = "+callbacks.freezing={_target_: pytorch_lightning.callbacks.BackboneFinetuning}"  # wants task.backbone


@pytest.fixture
def ours(monkeypatch):
    """This file counts as the package's own; else it is a user's."""
    monkeypatch.setattr("zoomexp.run.library_errors.OURS", (*OURS, __file__))


def stopped(error_of, callbacks=(), **parts):
    task = nn.ModuleDict(parts)
    with named_errors(SimpleNamespace(callbacks=list(callbacks), default_root_dir="."), task):
        error_of(task)


def narrow(*_):
    nn.BatchNorm1d(2)(torch.zeros(1, 2))


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, key):
        narrow()


def test_a_callback_that_refuses_in_the_middle(train, facts):
    ended = train("attention=none", FREEZING)
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert (ended.code, len(lines)) == (2, 1), ended.err
    assert lines[0].startswith("error: callbacks.freezing: ") and "Traceback" not in ended.err
    assert facts()["status"].startswith("failed: InputError: callbacks.freezing: ")


@pytest.mark.parametrize(
    ("path", "option"),
    [("model.conv1", "backbone"), ("model.inserted.layer1", "attention"), ("loss", "loss"), ("metric", "trainer")],
)
def test_the_option_of_a_part_of_the_task(ours, path, option):
    part = nn.BatchNorm1d(2)
    outermost, *inside = path.split(".")
    made = part
    for name in reversed(inside):
        made = nn.ModuleDict({name: made})
    with pytest.raises(InputError, match=rf"^{option}: {NARROW}"):
        stopped(lambda _: part(torch.zeros(1, 2)), **{outermost: made})


def test_the_option_is_that_of_the_innermost_object(ours):
    monitor = LearningRateMonitor()
    monitor.option = "callbacks.rates"
    with pytest.raises(InputError, match=r"^callbacks\.rates: Cannot use .LearningRateMonitor. callback with"):
        stopped(lambda _: monitor.on_train_start(SimpleNamespace(loggers=[])), [monitor])
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(InputError, match=r"^optimizer: loaded state dict has a different number of parameter groups"):
        stopped(lambda _: sgd.load_state_dict({"param_groups": [], "state": {}}))
    with pytest.raises(InputError, match=r"^mixing: "):
        stopped(lambda _: Mixup(num_classes=2)(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)))


def test_what_python_says_of_a_librarys_code_is_not_told(ours):
    monitor = LearningRateMonitor()
    monitor.option = "callbacks.rates"
    with pytest.raises(InputError, match=r"^callbacks\.rates: cannot work in this run with the options that it has; "):
        stopped(lambda _: monitor.on_train_start(SimpleNamespace()), [monitor])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_images_comes_from_a_process_that_reads_them_too(ours, workers):
    with pytest.raises(InputError) as found:
        stopped(lambda _: next(iter(DataLoader(Images(), batch_size=None, num_workers=workers))))
    assert str(found.value).partition(", got")[0] == f"{'dataset' if workers else 'trainer'}: {NARROW}"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_users_code_keeps_its_traceback(workers):
    with pytest.raises(ValueError, match=NARROW) as found:
        stopped(narrow)
    assert not isinstance(found.value, InputError)
    with pytest.raises(ValueError, match=NARROW) as found:
        stopped(lambda _: next(iter(DataLoader(Images(), batch_size=None, num_workers=workers))))
    assert not isinstance(found.value, InputError)


def test_what_no_library_raised_passes(ours):
    def mistake(task):
        raise ValueError("a mistake in this file")

    with pytest.raises(ValueError, match="a mistake in this file") as found:
        stopped(mistake)
    assert not isinstance(found.value, InputError)


@pytest.mark.parametrize("kind", [InputError, DivergedError, FaultError, OSError, MemoryError])
def test_what_others_answer_passes(ours, kind):
    error = kind("told by others")
    with pytest.raises(kind) as found:
        stopped(lambda _: (_ for _ in ()).throw(error))
    assert found.value is error
