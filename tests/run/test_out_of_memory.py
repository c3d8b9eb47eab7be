"""Smaller batches where memory runs out: the same images in each step, from the last checkpoint, until it fits."""

import pytest
import pytorch_lightning as pl
import torch

from zoomexp.datasets.digits import Digits
from zoomexp.errors import FaultError
from zoomexp.run.out_of_memory import in_memory, out_of_memory, split_batches


def built(**options):
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    data = Digits(data_dir=".", batch_size=24, eval_batch_size=100, train_size=200, mean=[0.3], std=[0.4], seed=3)
    data.prepare_data()
    data.setup("fit")
    data.trainer = trainer
    return trainer, None, data


@pytest.mark.parametrize("parts", [2, 3, 24])
def test_a_step_has_the_images_it_had(parts):
    whole = list(built()[2].train_dataloader())
    trainer, _, data = built()
    split_batches(trainer, data, parts)
    small = list(data.train_dataloader())[: trainer.limit_train_batches]
    assert (len(small), trainer.accumulate_grad_batches) == (len(whole) * parts, parts)
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            assert torch.equal(torch.cat([part[name] for part in small[number * parts : (number + 1) * parts]]), value)


def test_limits_count_the_small_batches():
    trainer, _, data = built(limit_train_batches=2, limit_val_batches=3, accumulate_grad_batches=2)
    split_batches(trainer, data, 4)
    assert (trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches) == (8, 12, 1.0)
    assert (trainer.accumulate_grad_batches, data.batch_size, data.eval_batch_size) == (8, 6, 25)
    trainer, _, data = built(limit_train_batches=0.5)
    steps = int(0.5 * len(data.train_dataloader()))
    split_batches(trainer, data, 2)
    assert trainer.limit_train_batches == 2 * steps


def test_a_last_smaller_batch_is_left_out():
    trainer, _, data = built()
    data.drop_last = False
    batches = len(data.train_dataloader())
    split_batches(trainer, data, 2)
    assert trainer.limit_train_batches == 2 * (batches - 1) <= len(data.train_dataloader())


def attempts(fits: int, on_oom: str = "halve") -> list[int]:
    tried = []

    def do(trainer, task, data):
        tried.append(data.batch_size)
        if data.batch_size > fits:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    try:
        in_memory(built, do, on_oom)
    except FaultError as error:
        return [*tried, str(error)]
    return tried


def test_until_it_fits(capfd):
    assert attempts(100) == [24]
    assert attempts(4) == [24, 12, 6, 3]
    said = capfd.readouterr().err.splitlines()
    assert said[0] == (
        "out of memory with batches of 24: goes on with batches of 12, 2 to a step (trainer.on_oom=fail would stop)"
    )
    assert len(said) == 3
    assert (
        attempts(0)[-1] == "out of memory with batches of 1; there is no smaller one; choose a smaller network or image"
    )
    assert attempts(0, "fail") == [
        24, "out of memory with batches of 24; choose a smaller dataset.batch_size, or trainer.on_oom=halve",
    ]  # fmt: skip


def test_any_other_error_goes_on_its_way():
    def do(*parts):
        raise RuntimeError("another")

    with pytest.raises(RuntimeError, match="another"):
        in_memory(built, do, "halve")


def test_what_running_out_of_memory_looks_like():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("could not create a primitive"))
    assert not out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    assert not out_of_memory(ValueError("out of memory"))
