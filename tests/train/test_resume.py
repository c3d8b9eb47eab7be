"""A run that is killed and started again ends with the numbers of one that was left alone."""

import json
import os
import signal

import pandas as pd
import pytest
import torch

from zoomexp.tasks.training import TrainedModel

RUN = (
    "dataset=digits", "dataset.train_size=480", "dataset.test_size=100", "dataset.batch_size=32", "logger=none",
    "backbone=timm", "backbone.name=test_efficientnet", "+backbone.drop_rate=0.3", "+backbone.drop_path_rate=0.2",
    "attention=loupe", "loss=sparse_gate", "loss.warmup_epochs=3", "trainer.max_epochs=6",
    "scheduler=multistep", "scheduler.milestones=[3,5]", "scheduler.warmup_epochs=2",
    "callbacks=[default,ema]", "callbacks.ema.decay=0.9", "evaluate=last",
)  # fmt: skip
TIMES = ["epoch_s", "img_per_s"]


def rows(path) -> int:
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def test_killed_in_mid_epoch(train, forked, tmp_path):
    assert train(base=RUN).code == 0
    (whole,) = tmp_path.glob("out/runs/*/*/seed*")
    killed = tmp_path / "killed" / whole.relative_to(tmp_path / "out")

    def act() -> int:
        step, steps = TrainedModel.training_step, []

        def until_killed(*given):
            steps.append(1)
            if len(steps) == 37:  # of 15 in an epoch: in the third
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*given)

        TrainedModel.training_step = until_killed
        return train(f"output_dir={tmp_path / 'killed'}", base=RUN).code

    assert forked(act) == -signal.SIGKILL
    done = rows(killed / "history.csv")
    assert done == 2
    assert json.loads((killed / "metrics.json").read_text())["status"] == "running"
    ended = train(f"output_dir={tmp_path / 'killed'}", base=RUN)
    assert ended.code == 0
    assert ended.err.count("\nepoch ") == 6 - done
    stored = {folder: json.loads((folder / "metrics.json").read_text()) for folder in (whole, killed)}
    assert stored[killed]["status"] == "finished"
    assert stored[killed]["metrics"] == stored[whole]["metrics"]
    histories = [pd.read_csv(folder / "history.csv").drop(columns=TIMES) for folder in (whole, killed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert list(histories[1]["epoch"]) == list(range(6))
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (whole, killed))
        assert one["global_step"] == other["global_step"]
        for part in ("state_dict", "current_model_state"):
            assert one[part].keys() == other[part].keys()
            assert all(torch.equal(value, other[part][key]) for key, value in one[part].items())


def test_a_run_that_lacks_only_its_test_is_tested(train, facts, folders):
    """Of one epoch and without validation: the checkpoint it goes on from is the one to test."""
    words = ("attention=none", "dataset.val_fraction=0", "evaluate=last")
    assert train(*words).code == 0
    (folder,), whole = folders(), facts()
    (folder / "metrics.json").write_text(json.dumps(whole | {"status": "interrupted: killed", "metrics": {}}))
    ended = train(*words)
    assert (ended.code, "\nepoch" in ended.err) == (0, False), ended.err
    assert facts()["status"] == "finished" and facts()["metrics"] == whole["metrics"]


EARLY = (
    "attention=none", "trainer.max_epochs=8", "callbacks=[default,early_stopping]",
    "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1000",
)  # fmt: skip  # nothing counts as better than the first epoch


def as_if_killed_at_the_test(folder) -> dict:
    whole = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(whole | {"status": "running", "metrics": {}}))
    return whole


@pytest.mark.parametrize("every", [1, 2])
def test_early_stopping_and_a_kill_at_the_test(train, facts, folders, every):
    words = (*EARLY, f"trainer.check_val_every_n_epoch={every}")
    assert train(*words).code == 0
    (folder,) = folders()
    whole, history = as_if_killed_at_the_test(folder), (folder / "history.csv").read_bytes()
    assert whole["metrics"]["epochs"] == 2 * every
    ended = train(*words)
    assert (ended.code, "\nepoch" in ended.err) == (0, False), ended.err
    assert facts()["metrics"] == whole["metrics"] and facts()["weights"] == whole["weights"]
    assert (folder / "history.csv").read_bytes() == history


def test_validated_every_second_epoch(train, facts, folders):
    words = ("attention=none", "trainer.max_epochs=5", "trainer.check_val_every_n_epoch=2")
    assert train(*words).code == 0
    (folder,) = folders()
    rows = pd.read_csv(folder / "history.csv")
    assert rows["val/acc1"].isna().tolist() == [True, False, True, False, True]
    assert not rows["train/loss"].isna().any()
    whole = as_if_killed_at_the_test(folder)
    assert whole["weights"] == "checkpoints/best.ckpt"
    assert whole["metrics"]["val/acc1"] == rows["val/acc1"][3]
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == rows["val/acc1"].idxmax()  # the first of equals, as Lightning takes it
    assert whole["metrics"]["val/acc1_best"] == pytest.approx(rows["val/acc1"].max())
    assert train(*words).code == 0
    assert facts()["metrics"] == whole["metrics"] and facts()["weights"] == whole["weights"]


def test_a_run_whose_outputs_were_moved_tests_its_best(train, facts, folders, tmp_path):
    words = ("attention=none", "trainer.max_epochs=3")
    assert train(*words).code == 0
    (folder,) = folders()
    whole = as_if_killed_at_the_test(folder)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert train(*words, f"output_dir={tmp_path / 'moved'}").code == 0
    there = json.loads((tmp_path / "moved" / folder.relative_to(tmp_path / "out") / "metrics.json").read_text())
    assert there["metrics"] == whole["metrics"] and there["weights"] == whole["weights"] == "checkpoints/best.ckpt"
