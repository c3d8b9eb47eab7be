"""What a run takes where no experiment is named: the recipe of its host, the loss of its module's paper."""

from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir

from tests.callbacks.test_freezing import changed_by, network
from zoomexp.errors import InputError
from zoomexp.run.build import make
from zoomexp.run.compose import compose_run

CONFIGS = Path(__file__).parents[2] / "configs"
TAKEN = {
    (): ("scratch_cnn", "cluttered_digits", "sparse_gate", "adamw_scratch", "warmup_cosine"),
    ("attention=none",): ("scratch_cnn", "cluttered_digits", "cross_entropy", "adamw_scratch", "warmup_cosine"),
    ("optimizer=sgd", "scheduler=none"): ("scratch_cnn", "cluttered_digits", "sparse_gate", "sgd", "none"),
    ("recipe=none",): ("none", "cluttered_digits", "sparse_gate", "sgd", "cosine"),
    ("backbone=swin_b",): ("finetune_swin", "cub200", "sparse_gate", "lion_finetune", "finetune_cosine"),
    ("backbone=swin_b", "attention=cbam", "dataset=digits"): (
        "finetune_swin", "digits", "cross_entropy", "lion_finetune", "finetune_cosine"
    ),
    ("backbone=swin_b", "backbone.pretrained=false"): (
        "scratch_vit", "cluttered_digits", "sparse_gate", "adamw_scratch", "warmup_cosine"
    ),
    ("backbone=resnet50", "backbone.pretrained=true"): (
        "finetune_cnn", "cub200", "sparse_gate", "adamw_finetune", "warmup_cosine"
    ),
    ("backbone=deit_s", "attention=none"): (
        "finetune_vit", "cub200", "cross_entropy", "adamw_finetune", "warmup_cosine"
    ),
    ("backbone=timm", "backbone.name=tf_efficientnet_lite0", "attention=none", "backbone.weights=net.pth"): (
        "finetune_cnn", "cub200", "cross_entropy", "adamw_finetune", "warmup_cosine"
    ),
    ("backbone=timm", "backbone.name=vit_small_patch14_dinov2", "attention=none", "backbone.weights=net.pth"): (
        "finetune_vit", "cub200", "cross_entropy", "adamw_finetune", "warmup_cosine"
    ),
    ("backbone=timm", "backbone.name=swin_tiny_patch4_window7_224", "attention=cbam", "backbone.pretrained=true"): (
        "finetune_swin", "cub200", "cross_entropy", "lion_finetune", "finetune_cosine"
    ),
    ("backbone=timm", "backbone.name=vit_tiny_patch16_224", "attention=none"): (
        "scratch_vit", "cluttered_digits", "cross_entropy", "adamw_scratch", "warmup_cosine"
    ),
    ("backbone=timm", "backbone.name=vit_tiny_patch16_224", "attention=none", "recipe=scratch_cnn"): (
        "scratch_cnn", "cluttered_digits", "cross_entropy", "adamw_scratch", "warmup_cosine"
    ),
    ("backbone=timm", "backbone.name=no_such_model", "attention=none"): (
        "scratch_cnn", "cluttered_digits", "cross_entropy", "adamw_scratch", "warmup_cosine"
    ),
    ("experiment=cnntention/cifar10", "attention=loupe"): ("none", "cifar10", "cross_entropy", "sgd", "multistep"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def hydra():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


@pytest.mark.parametrize("overrides", TAKEN, ids=" ".join)
def test_recipe(overrides):
    choices = compose_run(overrides).choices
    assert (
        tuple(choices[group] for group in ("recipe", "dataset", "loss", "optimizer", "scheduler")) == TAKEN[overrides]
    )


def test_loupe_in_swin_is_fine_tuned_as_its_paper_does():
    paper = compose_run(["experiment=loupe/cub200"]).config
    plain = compose_run(["attention=loupe", "backbone=swin_b"]).config
    for config in (paper, plain):
        config.pop("recipe")
        for seen in (
            "mean",
            "std",
            "crop_pct",
            "interpolation",
        ):  # the code has timm's defaults, here it is the weights'
            config["dataset"].pop(seen)
    assert plain == paper


@pytest.mark.parametrize("tokens", ["tome", "zoomvit_paper"])
def test_tokens_take_a_plain_transformer_unless_told_otherwise(tokens):
    needs = ["+needs.zoomer=['experiment=zoomvit/digits_zoomer']"] if tokens == "zoomvit_paper" else []
    alone = compose_run([f"tokens={tokens}", *needs]).choices
    assert (alone["backbone"], alone["attention"], alone["recipe"]) == ("vit_digits", "none", "scratch_vit")
    named = compose_run([f"tokens={tokens}", "backbone=deit_t", "attention=cbam", *needs]).choices
    assert (named["backbone"], named["attention"]) == ("deit_t", "cbam")


FEW = ("train=last_blocks", "scheduler.warmup=0.1", "trainer.max_epochs=4", "evaluate=last")
NEW_PARTS = ("optimizer.head_factor=30", "optimizer.module_factor=30")
FEW_IMAGES = {
    "cnn": ("train.blocks=1", "optimizer.lr=1e-5", *NEW_PARTS, *FEW),
    "swin": ("callbacks=[default,early_stopping,probe_first]",),
    "vit": ("loss.label_smoothing=0.1", *FEW),
}


@pytest.mark.parametrize("kind", FEW_IMAGES)
def test_fine_tuning_ones_own_images_takes_the_recipe_of_pretrained_hosts_for_few_images(kind):
    experiment = compose_run([f"experiment=finetune/{kind}", "dataset.folder=birds"])
    host = f"backbone={experiment.choices['backbone']}"
    words = [host, "backbone.pretrained=true", "attention=none", "dataset=image_folder", "dataset.folder=birds"]
    plain = compose_run([*words, "dataset.train_scale=[0.5,1.0]", *FEW_IMAGES[kind]])
    assert plain.choices["recipe"] == f"finetune_{kind}" and plain.config == experiment.config
    loupe = compose_run([f"experiment=finetune/{kind}", "attention=loupe"])
    assert loupe.choices["loss"] == "sparse_gate"


@pytest.mark.parametrize("train", [path.stem for path in (CONFIGS / "train").glob("*.yaml")])
def test_fine_tuning_trains_any_part(train):
    run = compose_run(["experiment=finetune/cnn", "attention=loupe", f"train={train}"])
    part = run.config["train"].get("part", "all")
    assert (getattr(make(run.cfg.train), "part", "all"), run.choices["train"]) == (part, train)


def test_the_arms_of_the_sweep_over_parts_differ_in_the_part_alone():
    asked = yaml.safe_load((CONFIGS / "sweep" / "trained_part.yaml").read_text())["hydra"]["sweeper"]["params"]
    arms = asked.pop("train").split(",")
    assert arms == ["head", "module", "module_and_head", "last_blocks", "fixed_norms"]
    assert asked == {"attention": "loupe", "attention.start": "identity", "seed": "0,1,2"}
    for arm in arms:
        run = compose_run(["experiment=finetune/cnn", "attention=loupe", "attention.start=identity", f"train={arm}"])
        moved = changed_by(make(run.cfg.train), network())
        assert not [name for name in moved if name.endswith(("running_mean", "running_var"))], arm
        assert any("inserted" in name for name in moved) == (arm != "head")


@pytest.mark.parametrize(("host", "train"), [("resnet50", "fixed_norms"), ("deit_s", "all")])
def test_a_pretrained_host_begins_with_a_probe(host, train):
    run = compose_run([f"backbone={host}", "backbone.pretrained=true", "attention=none"])
    assert "probe_first" in run.config["callbacks"] and run.choices["train"] == train
    without = compose_run([f"backbone={host}", "backbone.pretrained=true", "callbacks=[default]"])
    assert "probe_first" not in without.config["callbacks"] and without.choices["train"] == train
    scratch = compose_run([f"backbone={host}", "backbone.pretrained=false"])
    assert "probe_first" not in scratch.config["callbacks"] and scratch.choices["train"] == "all"


IMPOSSIBLE = {
    ("experiment=finetune/cnn", "backbone.pretrained=false"): (
        r"^recipe=finetune_cnn fine-tunes pretrained weights, and backbone\.pretrained=false .* backbone\.weights=FILE$"
    ),
    ("backbone=swin_b", "recipe=finetune_swin", "backbone.pretrained=false"): (
        r"^recipe=finetune_swin fine-tunes pretrained weights, and backbone\.pretrained=false .* recipe=scratch_vit"
    ),
    (
        "backbone=swin_b",
        "recipe=scratch_vit",
    ): r"^recipe=scratch_vit starts from random weights, .* recipe=finetune_vit",
    ("backbone=resnet20", "recipe=scratch_cnn", "backbone.weights=net.pth"): (
        r"^recipe=scratch_cnn starts from random weights, and backbone\.weights loads some; .* backbone\.weights=null$"
    ),
    ("recipe=finetune_cnn",): r"^recipe=finetune_cnn fine-tunes pretrained weights, .* choose recipe=scratch_cnn",
}


@pytest.mark.parametrize("overrides", IMPOSSIBLE, ids=" ".join)
def test_impossible(overrides):
    with pytest.raises(InputError, match=IMPOSSIBLE[overrides]):
        compose_run(overrides)


def test_every_recipe_names_its_start_and_a_recipe_of_the_other():
    recipes = {path.stem: yaml.safe_load(path.read_text()) for path in (CONFIGS / "recipe").glob("*.yaml")}
    starts = {name: file["recipe"]["start"] for name, file in recipes.items() if file and file["recipe"]}
    assert set(recipes) - set(starts) == {"none", "further"}
    for name, start in starts.items():
        assert {start, starts[recipes[name]["recipe"]["otherwise"]]} == {"scratch", "pretrained"}


def test_every_host_names_a_recipe():
    for path in (CONFIGS / "backbone").glob("*.yaml"):
        (recipe,) = [
            one for one in yaml.safe_load(path.read_text())["defaults"] if "override /recipe@_global_.recipe" in one
        ]
        assert (CONFIGS / "recipe" / f"{recipe['override /recipe@_global_.recipe']}.yaml").exists()


def test_missing_data_say_what_would_be_run(train, tmp_path):
    ended = train("attention=loupe", "backbone=swin_b", f"data_dir={tmp_path / 'none'}", base=("logger=none",))
    assert ended.code == 2
    assert ended.err.startswith("error: dataset=cub200: not found under data_dir=")
    assert "recipe=finetune_swin would fine-tune swin_b with attention=loupe on cub200" in ended.err
    assert "backbone.pretrained=false" in ended.err
    assert ended.err.count("\n") == 1


def test_first_words(train):
    ended = train("attention=cbam", "dataset.batch_size=32", "optimizer=sgd")
    first, second, *_ = ended.err.splitlines()
    host = "cbam after layer1, layer2, layer3 in resnet20 on digits"
    assert first == f"{host}, images: 128 to train on, 14 to validate, 60 to test; 1 epochs of 4 steps"
    recipe = "recipe=scratch_cnn of backbone=resnet20: optimizer=sgd (typed) scheduler=warmup_cosine loss=cross_entropy"
    assert second.startswith(f"{recipe}; starts, writes ")


def test_first_words_name_the_timm_model_that_the_recipe_is_for(train):
    words = ("backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.image_size=32", "attention=none")
    ended = train(*words, "trainer=smoke")
    told = "recipe=scratch_vit of backbone=timm backbone.name=vit_tiny_patch16_224: optimizer=adamw_scratch "
    assert ended.code == 0 and ended.err.splitlines()[1].startswith(told), ended.err
