"""A run of `task=probe`: nothing but the last layer changes, features are kept, the record tells."""

import numpy as np
import torch

import zoomexp

PROBE = (
    "task=probe",
    "dataset=digits",
    "dataset.train_size=200",
    "dataset.test_size=100",
    "attention=none",
    "logger=none",
)


def test_a_probe_changes_the_last_layer_alone_and_its_features_are_kept(train, tmp_path, facts, folders):
    ended = train(*PROBE, base=())
    assert ended.code == 0, ended.err
    announced = "to test; one pass over the images, and a linear layer fitted to their features\n"
    assert announced in ended.err and "epochs" not in ended.err.splitlines()[0]
    metrics = facts()["metrics"]
    assert metrics["test/acc1"] > 50 and metrics["test/knn_acc1"] > 50  # of ten classes; random features do as much
    assert round(metrics["train/penalty"], 6) in (0.01, 0.1, 1, 10) and metrics["epochs"] == 1
    kept = sorted((tmp_path / "out" / "features").glob("*.npz"))
    assert [file.name.split("-")[0] for file in kept] == ["train", "val"]
    with np.load(kept[0]) as stored:
        assert stored["features"].shape == (200, 64)
    times = [file.stat().st_mtime_ns for file in kept]
    assert train(*PROBE, "rerun=true", "task.neighbours=1", base=()).code == 0
    assert [file.stat().st_mtime_ns for file in kept] == times
    first = next(folder for folder in folders() if "features" not in str(folder))
    weights = torch.load(first / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert weights["model.bn1.num_batches_tracked"] == 0  # no training image went through in training mode
    assert zoomexp.load(first).classes == tuple("0123456789")


def test_what_cannot_be_probed(train):
    ended = train(*PROBE, "mixing=mixup", base=())
    assert ended.code == 2 and "task=probe: needs mixing=none" in ended.err
    ended = train(*PROBE, "head=cal", base=())
    assert ended.code == 2 and "task=probe: needs a last layer with a bias, and head.fc has none" in ended.err
    ended = train(*PROBE, "task.penalties=[0]", base=())
    assert ended.code == 2 and "task.penalties=[0] must be at least one number above 0" in ended.err


def test_a_run_may_begin_with_the_probe(train, folders):
    """What does not train after it has the probe's own last layer, says what it says, and shares its features."""
    still = ("optimizer.lr=1e-30", "optimizer.weight_decay=0", "train=fixed_norms", "trainer.max_epochs=1")
    assert train(*PROBE, base=()).code == 0
    ended = train(*PROBE[1:], *still, "evaluate=last", "callbacks=[default,probe_first]", base=())
    assert ended.code == 0, ended.err
    assert "probe_first: training begins with a linear layer fitted to the features, " in ended.err
    assert "features of" not in ended.err.replace("to the features", "")  # computed by the probe, and kept
    runs = sorted(
        (one for one in folders() if one.parent.name.startswith("resnet20")), key=lambda one: one.stat().st_ctime
    )
    probed, begun = (torch.load(one / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for one in runs)
    assert set(begun) == set(probed)
    for name, value in probed.items():
        torch.testing.assert_close(begun[name], value, rtol=0, atol=1e-25)  # a step of 1e-30 moves what is 0
    said, again = (np.load(one / "predictions.npz") for one in runs)
    for name in ("index", "label", "top1", "confidence"):
        np.testing.assert_array_equal(again[name], said[name])


def test_a_run_that_has_a_last_layer_or_cannot_fit_one_says_so(train, folders):
    words = (*PROBE[1:], "trainer.max_epochs=1", "dataset.train_size=128", "callbacks=[default,probe_first]")
    assert train(*words, base=()).code == 0
    (first,) = folders()
    ended = train(*words, f"checkpoint={first}/checkpoints/last.ckpt", base=())
    assert (
        ended.code == 0 and f"probe_first: left out, for {first}/checkpoints/last.ckpt has the last layer" in ended.err
    )
    ended = train(*words, "callbacks.probe_first.penalties=[0]", base=())
    assert ended.code == 2 and "callbacks.probe_first.penalties=[0] must be at least one number above 0" in ended.err


def test_stages_of_a_finished_run_are_probed(train, tmp_path, folders):
    small = ("dataset=digits", "dataset.train_size=200", "dataset.test_size=60", "logger=none")
    assert train("attention=loupe", "trainer.max_epochs=1", base=small).code == 0
    (run,) = folders()
    for at in ("stage1", "stage3"):
        words = ("task=probe", "backbone=trained", f"backbone.run={run}", "attention=none", "head=stage")
        ended = train(*words, f"head.at={at}", base=small)
        assert ended.code == 0, ended.err
    kept = sorted((tmp_path / "out" / "features").glob("train-*.npz"))
    assert sorted(np.load(file)["features"].shape[1] for file in kept) == [16, 64]  # widths of ResNet-20's stages
