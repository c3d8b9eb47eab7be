"""Runs that start from a run on other classes."""

import json

import torch

ONE = ("attention=loupe", "dataset=digits", "dataset.train_size=40", "dataset.test_size=20", "trainer=smoke",
       "trainer.max_epochs=1", "dataset.batch_size=8", "logger=none")  # fmt: skip
BIRDS = ("dataset=image_folder", "dataset.image_size=16", "trainer=smoke", "dataset.batch_size=2", "logger=none",
         "dataset.val_fraction=0.25")  # fmt: skip
NO_TRAINING = "optimizer.lr=1e-30"


def weights_of(folder) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_checkpoint_and_a_trained_network_of_other_classes_get_a_new_head(train, tmp_path, images_of, folders):
    assert train(*ONE, "dataset.mean=[0.3]", base=()).code == 0
    (first,) = folders()
    images_of(tmp_path / "images", ("gull", "tern", "wren"))
    more = (f"data_dir={tmp_path}", "attention=loupe", NO_TRAINING, "optimizer.weight_decay=0")
    ended = train(*BIRDS, *more, f"checkpoint={first}/checkpoints/last.ckpt", base=())
    assert ended.code == 2 and "of another model" in ended.err  # grey and colour: the first convolution differs
    ended = train(*BIRDS, *more, base=())
    assert ended.code == 0, ended.err
    (colour,) = [folder for folder in folders() if "image_folder" in str(folder)]
    images_of(tmp_path / "other", ("ape", "bee"))
    start = f"checkpoint={colour}/checkpoints/last.ckpt"
    for choice in (("attention=loupe", start), ("attention=none", "backbone=trained", f"backbone.run={colour}")):
        ended = train(*BIRDS, *more[:1], *more[2:], *choice, "dataset.folder=other", base=())
        assert ended.code == 0, ended.err
        assert "classes are 3 there, 2 here; new fc.bias, fc.weight" in ended.err
        newest = max(folders(), key=lambda folder: (folder / "metrics.json").stat().st_mtime)
        assert json.loads((newest / "metrics.json").read_text())["classes"] == ["ape", "bee"]
        before, after = weights_of(colour), weights_of(newest)
        kept = [name for name in before if name.startswith("model.") and name.endswith("weight") and "fc" not in name]
        assert kept and all(torch.equal(before[name], after[name]) for name in kept)
        assert after["model.fc.weight"].shape == (2, 64)


def test_as_many_classes_by_other_names_get_a_new_head(train, tmp_path, images_of, folders):
    for folder, names in (("images", ("gull", "tern")), ("other", ("ape", "bee"))):
        images_of(tmp_path / folder, names)
    more = (f"data_dir={tmp_path}", "attention=none", NO_TRAINING)
    assert train(*BIRDS, *more, base=()).code == 0
    (first,) = folders()
    start = f"checkpoint={first}/checkpoints/last.ckpt"
    ended = train(*BIRDS, *more, start, "seed=1", base=())
    assert ended.code == 0 and "new" not in ended.err
    ended = train(*BIRDS, *more, start, "seed=1", "dataset.folder=other", base=())
    assert ended.code == 0 and "classes are others, 2 here; new fc.bias, fc.weight" in ended.err
