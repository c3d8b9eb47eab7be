"""Any callback may be dropped or replaced; what a run's record needs is there all the same."""

import json

import pytest

LIGHTNINGS = "callbacks.checkpoints={_target_:pytorch_lightning.callbacks.ModelCheckpoint,monitor:val/loss}"


@pytest.mark.parametrize(
    ("dropped", "best", "history"),
    [
        (["callbacks=[ema]"], False, False),
        (["callbacks=early_stopping"], False, False),
        (["~callbacks.history"], True, False),
        (["~callbacks.checkpoints"], False, True),
        (["~callbacks.progress", "callbacks.gates=null"], True, True),
        (["~callbacks.checkpoints", f"+{LIGHTNINGS}"], True, True),
    ],
    ids=str,
)
def test_a_run_without_a_callback_is_a_whole_run(train, folders, dropped, best, history):
    ended = train(*dropped)
    assert ended.code == 0, ended.err
    assert ("evaluate=best: no validated epoch was kept as the best; the last one is tested" in ended.err) is not best
    (folder,) = folders()
    facts = json.loads((folder / "metrics.json").read_text())
    assert facts["status"] == "finished" and facts["metrics"]["epochs"] == 1
    assert {"train/loss", "val/acc1", "test/acc1"} <= facts["metrics"].keys() and facts["cost"]["train_s"] > 0
    assert any(name.endswith("_best") for name in facts["metrics"]) == best
    assert (folder / facts["weights"]).is_file() and (facts["weights"] == "checkpoints/last.ckpt") == (not best)
    assert (folder / "history.csv").exists() == history
    assert ("epoch 1/1" in ended.err) == any("callbacks." in word and "progress" not in word for word in dropped[:1])
