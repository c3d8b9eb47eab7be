"""Runs that start from a run on other classes."""

import json

import torch

from tests.train.conftest import run_script
from zoomexp.weights.class_names import classes_of, others

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
    for number, start in enumerate(starts(first)):
        ended = train(*BIRDS, *more, *start, "seed=1", base=())
        assert ended.code == 0 and "new" not in ended.err
        ended = train(*BIRDS, *more, *start, "seed=1", "dataset.folder=other", base=())
        assert ended.code == 0 and "classes are others, 2 here; new fc.bias, fc.weight" in ended.err
        same, newest = sorted(folders(), key=lambda folder: (folder / "metrics.json").stat().st_mtime)[-2:]
        before, kept, new = (weights_of(folder) for folder in (first, same, newest))
        assert torch.equal(before["model.conv1.weight"], new["model.conv1.weight"]), number
        assert torch.equal(before["model.fc.weight"], kept["model.fc.weight"]), number
        assert not torch.allclose(before["model.fc.weight"], new["model.fc.weight"], atol=1e-3), number


def starts(run) -> tuple[tuple[str, ...], ...]:
    """The two ways to begin with a run's network."""
    return (f"checkpoint={run}/checkpoints/last.ckpt",), ("backbone=trained", f"backbone.run={run}")


def test_a_test_without_training_wants_the_classes_of_the_run(train, tmp_path, images_of, folders, monkeypatch, capfd):
    for folder, names in (("images", ("gull", "tern")), ("other", ("ape", "bee")), ("partly", ("gull", "wren")),
                          ("moved", ("auk", "gull"))):  # fmt: skip
        images_of(tmp_path / folder, names)
    more = (f"data_dir={tmp_path}", "attention=none")
    assert train(*BIRDS, *more, NO_TRAINING, base=()).code == 0
    (first,) = folders()
    tests = [lambda *words, start=start: train(*BIRDS, *more, "evaluate=start", *start, *words, base=())
             for start in starts(first)]  # fmt: skip
    tests.append(lambda *words: run_script(
        "evaluate", (f"run={first}", f"output_dir={tmp_path / 'out'}", "logger=none", *words), monkeypatch, capfd
    ))  # fmt: skip
    for test in tests:
        ended = test("dataset.folder=images")
        assert ended.code == 0 and "than its run's" not in ended.err
        ended = test("dataset.folder=partly")
        said = "1 of 2 classes are others than its run's, wren in the place of tern; tested as they are"
        assert ended.code == 0 and said in ended.err, ended.err
        for folder, name in (("other", "ape"), ("moved", "auk")):
            ended = test(f"dataset.folder={folder}")
            message = f"tested without training on other classes than its run's, {name} in the place of gull; name the"
            assert ended.code == 2 and message in ended.err and ended.err.count("\n") == 1, ended.err


def test_where_nobody_knows_the_classes_nothing_is_compared(tmp_path):
    assert classes_of(tmp_path) == [] == classes_of("timm/resnet50")
    for content in ("{", "[]", "{}", '{"classes": null}', '{"classes": 3}'):
        (tmp_path / "metrics.json").write_text(content)
        assert classes_of(tmp_path) == []
    assert not others([], ["ape"]) and not others(["gull"], []) and others(["a", "b"], ["b", "a"])
