"""Every shipped table, experiment and sweep: it loads, it composes, and the reported numbers are the papers'."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from zoomexp.results.derived import declared
from zoomexp.results.filling import fill
from zoomexp.results.table import SCALES, load_table, load_tables, table_names

CONFIGS = Path(__file__).parents[2] / "configs"
TABLES = CONFIGS / "table"
DATASETS = {path.stem for path in (CONFIGS / "dataset").glob("*.yaml")}
EXPERIMENTS = sorted(
    str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in (CONFIGS / "experiment").rglob("*.yaml")
)
SWEEPS = sorted((CONFIGS / "sweep").rglob("*.yaml"))
RUN = [(table, row) for table in load_tables(TABLES) for row in table.rows if not row.unavailable]
VALUE = re.compile(r"\w+(\.\w+)+=")  # what gives an option of a choice another value, and composes nothing else
LATER = {"attzoom/tiny_imagenet": "tiny_imagenet", "loupe/": "cub200"}  # recipes of data sets that may not be there yet


@pytest.fixture(scope="module", autouse=True)
def hydra_configs():
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        yield


def need(text: str) -> None:
    """Skip what needs a data set that has no config."""
    for start, dataset in LATER.items():
        if start in text and dataset not in DATASETS:
            pytest.skip(f"dataset={dataset} has no config")


def composed(overrides: list[str]):
    need(" ".join(overrides))
    return composed_once(*overrides)


@cache
def composed_once(*overrides: str):
    return compose("train", overrides=list(overrides))


def test_every_named_table_is_there():
    named = {
        "cnntention": "cifar10 mnist tuning reduction convergence heads residual gamma placement "
        "parallel within_between",
        "attzoom": "cifar100 tiny_imagenet threshold insertion components corruptions segmentation",
        "loupe": "v1_headline v2_headline v1_ablation lambda insertion controls cub10 robustness",
    }
    assert {f"{paper}/{name}" for paper, names in named.items() for name in names.split()} <= set(table_names(TABLES))


@pytest.mark.parametrize(("table", "row"), RUN, ids=[f"{table.name}:{row.name}" for table, row in RUN])
def test_every_row_composes_with_keys_its_targets_know(table, row):
    words = table.overrides_of(row)
    values = [word for word in words if VALUE.match(word)]
    config = composed([word for word in words if word not in values])  # many rows make the same choices
    for override in OverridesParser.create().parse_overrides(values):
        parent, _, name = override.key_or_group.rpartition(".")
        assert not override.is_sweep_override() and name in set(OmegaConf.select(config, parent)), name
    for group in ("attention", "optimizer", "scheduler", "loss"):
        unknown = set(config[group]) - keys_of(OmegaConf.select(config, f"{group}._target_"))
        assert not unknown, f"{group} does not take {unknown}"


@pytest.mark.parametrize("scale", [scale for scale in SCALES if scale != "paper"])
@pytest.mark.parametrize("table", load_tables(TABLES), ids=lambda table: table.name)
def test_every_scale_composes_and_shortens(table, scale):
    row = next(row for row in table.rows if not row.unavailable)
    full, short = composed(table.overrides_of(row)), composed(table.overrides_of(row, scale))
    if scale == "small" and full.trainer.max_epochs == short.trainer.max_epochs <= 20:
        return  # small as it is
    if scale == "small":
        assert short.trainer.max_epochs < full.trainer.max_epochs / 5 or short.evaluate == "start"
    if scale == "smoke":
        assert (short.trainer.max_epochs, short.trainer.limit_train_batches, short.dataset.batch_size) == (1, 2, 8)
    if "milestones" in short.scheduler and scale == "small":
        assert max(short.scheduler.milestones) < short.trainer.max_epochs


@cache
def keys_of(target: str | None) -> set[str]:
    """The keys of the config files of a target: a recipe must not leave keys of another choice behind."""
    groups = [CONFIGS / group for group in ("attention", "optimizer", "scheduler", "loss")]
    files = [yaml.safe_load(path.read_text()) or {} for group in groups for path in group.glob("*.yaml")]
    found = [content for content in files if target and content.get("_target_") == target]
    chosen = [place for content in found for one in content.get("defaults", []) if one != "_self_" for place in one]
    parts = {place.partition("@")[2].partition(".")[0] for place in chosen if place.startswith("/")}  # of other files
    return {key for content in found for key in content} | parts


def test_rows_of_a_table_are_run_by_different_overrides():
    for table in load_tables(TABLES):
        runs = [tuple(table.overrides_of(row)) for row in table.rows if not row.unavailable]
        assert len(set(runs)) == len(runs), table.name


@pytest.mark.parametrize("table", load_tables(TABLES), ids=lambda table: table.name)
def test_tables_are_complete_and_renderable(table):
    filled = fill(table, {}, "paper", "abc")
    assert {cell.verdict for row in filled.rows for cell in row.cells} == {"not run"}
    assert all(row.overrides or table.overrides or row.unavailable for row in table.rows)
    assert table.scale["smoke"]
    assert table.scale["small"]
    assert all(declared(column.key) for column in table.columns)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_says_command_numbers_and_source(experiment):
    lines = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_" and f"{lines[1]} ".startswith(
        f"# python train.py experiment={experiment} "
    )
    assert lines[2].startswith("# Expected: ")
    assert any(line.startswith("# Source: ") for line in lines)
    composed([f"experiment={experiment}"])


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_composes_and_so_does_every_value(path):
    config = compose("train", overrides=[f"sweep={path.stem}", "backbone=resnet20"], return_hydra_config=True)
    params = dict(config.hydra.sweeper.params)
    assert len(params) >= 2
    choices = {key: str(values).split(",") for key, values in params.items()}
    first = {key: values[0] for key, values in choices.items()}
    for key, value in [(key, value) for key, values in choices.items() for value in values[1:] or values]:
        compose("train", overrides=["backbone=resnet20", *map("=".join, (first | {key: value}).items())])


def recipe(experiment: str, *overrides: str):
    return composed([f"experiment={experiment}", *overrides])


@pytest.mark.parametrize("data", ["cifar10", "mnist"])
@pytest.mark.parametrize(
    ("model", "opt", "lr", "decay", "milestones"),
    [
        ("", "momentum", 0.1, 1e-4, [91, 136]),
        ("_self_attention", "adam", 5e-4, 1e-3, [91, 115]),
        ("_multi_head", "adam", 5e-4, 1e-3, [91, 115]),
        ("_cbam", "adam", 5e-3, 1e-4, [45, 91, 136]),
    ],
)
def test_cnntention_recipes_are_the_papers(data, model, opt, lr, decay, milestones):
    for protocol in ("", "_paper"):
        config = recipe(f"cnntention/{data}{model}{protocol}")
        assert (config.optimizer.opt, config.optimizer.lr, config.optimizer.weight_decay) == (opt, lr, decay)
        assert (config.scheduler.milestones, config.scheduler.gamma) == (milestones, 0.1)
        assert (config.dataset.batch_size, config.trainer.max_epochs, config.evaluate) == (128, 182, "last")
        assert config.dataset.validate_on == ("test" if protocol else "heldout")
        assert config.dataset.drop_last is not bool(protocol)
        assert config.dataset.flip is (data == "cifar10" or bool(protocol))
        stopping = OmegaConf.select(config, "callbacks.early_stopping.patience")
        assert stopping == (20 if model else {"cifar10": None, "mnist": 10}[data])
        assert OmegaConf.select(config, "callbacks.checkpoints._target_")
    if model in ("_self_attention", "_multi_head"):
        assert recipe(f"cnntention/{data}{model}_paper").optimizer.no_decay == []
        assert recipe(f"cnntention/{data}{model}").optimizer.no_decay == ["gate", "module"]


def test_the_loupe_recipes():
    sound, paper = recipe("loupe/cub200"), recipe("loupe/cub200_paper")
    for config in (sound, paper):
        assert (config.optimizer.opt, config.optimizer.lr, config.dataset.batch_size) == ("lion", 1e-5, 16)
        assert (config.scheduler.min_lr, config.trainer.max_epochs, config.loss.sparsity) == (1e-7, 50, 0.05)
        assert (config.evaluate, config.callbacks.early_stopping.patience) == ("best", 5)
        assert (config.dataset.crop_pct, config.dataset.interpolation) == (0.875, "bilinear")
    assert (sound.optimizer.weight_decay, paper.optimizer.weight_decay) == (0.02, 0.0)
    assert (sound.dataset.validate_on, paper.dataset.validate_on) == ("heldout", "test")
    assert (sound.dataset.drop_last, paper.dataset.drop_last) == (True, False)


def test_the_command_line_beats_a_recipe():
    config = recipe("cnntention/cifar10_cbam_paper", "attention=none", "optimizer=sgd", "trainer.max_epochs=3")
    assert (config.optimizer.opt, config.trainer.max_epochs, dict(config.attention)) == ("momentum", 3, {})


def reported(table: str, *columns: str) -> dict[str, tuple]:
    """Row -> its reported values in those columns, rows without any left out."""
    rows = load_table(TABLES, table).rows
    found = {row.name: tuple(row.reported[column] for column in columns) for row in rows}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def test_reported_cnntention_cifar10():
    columns = "test/acc1 test/error1 val/error1_best val/best_epoch val/error1 train/error1 epochs cost/epoch_s"
    assert reported("cnntention/cifar10", *columns.split(), "cost/train_h") == {
        "ResNet20": (90.96, 9.04, 8.80, 160, 9.04, 0.65, 182, 53.3, 2.70),
        "+ SelfAtt": (91.44, 8.56, 8.34, 128, 8.44, 0.59, 147, 40.7, 1.66),
        "+ MHA (8 heads)": (91.06, 8.94, 8.78, 145, 9.06, 0.85, 164, 62.1, 2.83),
        "+ CBAM (r=16)": (91.32, 8.68, 8.50, 106, 8.89, 1.05, 125, 28.8, 1.00),
    }


def test_reported_cnntention_mnist():
    assert reported("cnntention/mnist", "test/acc1", "val/error1_best", "epochs", "cost/train_h") == {
        "ResNet20": (98.52, 0.94, 51, 0.39),
        "+ SelfAtt": (99.30, 0.61, 121, 1.30),
        "+ MHA": (98.84, 0.82, 81, 1.47),
        "+ CBAM (r=16)": (98.00, 1.22, 41, 0.31),
    }


def test_reported_cnntention_tuning():
    found = reported("cnntention/tuning", "epochs", "test/acc1", "val/acc1_best", "cost/train_h")
    assert {name.split(":")[0]: values for name, values in found.items()} == {
        "tuning baseline": (182, 90.91, 91.40, 2.67),
        "run1": (103, 14.31, None, 1.44),
        "run2": (182, 91.48, None, 1.61),
        "run3": (182, 91.29, None, 3.14),
        "run4a": (182, 88.51, None, 1.60),
        "run4b": (182, 90.64, 91.04, 1.07),
        "run5": (182, 87.35, 87.39, 1.90),
        "run6": (182, 90.34, 90.54, 1.94),
        "run7": (126, 79.14, 79.42, 2.04),
        "run8": (121, 89.03, 89.44, 1.87),
        "run9-1": (182, 88.42, 89.18, 1.59),
        "run9-2": (182, 90.38, 91.14, 1.80),
        "run9-3": (182, 90.31, 90.56, 1.86),
        "run9-4": (182, 89.05, 89.34, 1.63),
    }


def test_reported_cnntention_reduction_and_ablations():
    both = ("test/acc1", "val/acc1_best")
    between = (89.05, 89.34)
    ratios = {"r = 8": (90.64, 91.04), "r = 16": (90.38, 91.14), "r = 32": (90.31, 90.56)}
    ratios["r = 8, raw pixels"] = ratios.pop("r = 8")
    assert reported("cnntention/reduction", *both) == ratios | {"r = 4, between blocks": between}
    assert reported("cnntention/placement", *both) == {"CBAM r=4, between blocks": between}
    gamma = {"SelfAtt, gamma learned": (90.34, 90.54), "SelfAtt, gamma = 1": (89.03, 89.44)}
    assert reported("cnntention/gamma", *both) == gamma
    skip = {"SelfAtt with skip": (91.48, 182), "SelfAtt without skip": (14.31, 103)}
    assert reported("cnntention/residual", "test/acc1", "epochs") == skip
    assert reported("cnntention/heads", "test/acc1") == {}


def test_reported_cnntention_convergence():
    assert reported("cnntention/convergence", *(f"val/epochs_to_error{error}" for error in (20, 15, 12, 10))) == {
        "ResNet20 SGD": (13, 41, 92, 92),
        "SelfAtt": (14, 26, 70, 92),
        "MHA": (15, 36, 81, 92),
        "CBAM r=16": (17, 31, 46, 50),
    }


def test_reported_attzoom():
    assert reported("attzoom/cifar100", "test/acc1", "test/acc5") == {
        "ResNet-50": (58.50, None),
        "ResNet-50 + AttZoom": (67.66, None),
        "MobileNet": (63.62, None),
        "MobileNet + AttZoom": (76.43, None),
    }
    for table in ("tiny_imagenet", "threshold", "insertion", "components"):
        assert reported(f"attzoom/{table}", "test/acc1", "test/acc5") == {}


def test_reported_loupe():
    assert reported("loupe/v1_headline", "test/acc1") == {"Swin-B": (85.40,), "Swin-Loupe": (88.06,), "HERBS": (92.5,)}
    assert reported("loupe/v2_headline", "test/acc1") == {
        "Swin-B": (88.36,),
        "Swin-B + Loupe": (91.72,),
        "Swin-T": (85.14,),
        "Swin-T + Loupe": (88.61,),
    }
    assert reported("loupe/v1_ablation", "test/acc1") == {
        "Swin-B, no Loupe": (85.40,),
        "after stage 2, lambda = 0.05": (88.06,),
        "after stage 2, lambda = 5.0": (87.85,),
        "multi-scale": (85.71,),
    }
    known = {"no Loupe": (85.40,)}
    assert reported("loupe/lambda", "test/acc1") == known | {"lambda = 0.05": (88.06,), "lambda = 5": (87.85,)}
    multi = {"multi-scale, stages 1 to 3": (85.71,)}
    assert reported("loupe/insertion", "test/acc1") == known | {"stage 2": (88.06,)} | multi
    assert reported("loupe/controls", "test/acc1") == known | {"learned mask": (88.06,)}


def test_zoomvit_values():
    assert reported("zoomvit/table2", "test/mse", "test/mae", "cost/params_m") == {
        "n = 2": (0.0161, 0.0468, 0.3),
        "n = 4": (0.0155, 0.0321, 0.8),
        "n = 6": (0.0112, 0.0249, 2.9),
    }
    assert reported("zoomvit/fig6a", "val/mse_lowest_at") == {}  # epoch 70 is not said of one n
    assert reported("zoomvit/table1", "test/acc1", "cost/macs_g", "cost/params_m", "cost/test_img_per_s") == {
        "DeiT-S": (79.8, 4.6, 22, 5039),
        "DeiT III-S": (81.4, 4.6, 22, 1891),
        "IA-RED2": (79.1, 3.2, 22, 1360),
        "DynamicViT, keep 0.7": (79.3, 2.9, 26.9, 2062),
        "SPViT": (79.34, 3.4, 22, None),
        "PS-ViT": (82.3, 8.8, 21.3, 464),
        "Evo-ViT": (79.4, 3.0, 22, 1510),
        "ToMe, r 12": (78.89, 2.9, 22, 6712),
        "EViT, keep 0.7": (78.5, 3, 22, 6807),
        "DiffRate": (79.58, 2.9, 22, 6744),
        "ATS": (79.7, 2.9, 22, None),
        "LV-ViT-S": (83.3, 6.6, 26, None),
        "ToFu, r 13": (79.4, 2.7, 22, 1552),
        "DeiT III-S, 384 pixels": (83.6, 15.5, 22, 424),
        "CF-ViT": (80.8, 4.0, 22, 2760),
        "ZoomViT, eta 0.5, alpha 0.03": (81.5, 2.3, 22.7, 6738),
        "ZoomViT, eta 2, alpha 0.1": (82.5, 6.3, 22.7, 3721),
        "ZoomViT, eta 2, alpha 0.01, pruning": (83.8, 6.3, 22.7, 3717),
    }
    found = reported("zoomvit/table3", "test/acc1")
    assert found == {"fixed 0.03": (83.1,), "fixed 0.1": (82.52,), "random": (83.348,)}
    found = reported("zoomvit/table4", "test/acc1")
    assert found == {"fixed": (83.23,), "none": (83.07,), "ours (soft)": (83.348,)}
    assert reported("zoomvit/table5", "test/acc1", "test/acc1_over_alpha") == {
        "baseline": (81.4, None), "no pruning": (None, 82.74), "pruning": (None, 82.97),
    }  # fmt: skip


def test_zoomvit_values_of_hosts_thresholds_and_finders():
    models = ("AlexNet", "VGG16", "DenseNet121", "ResNet-50", "ResNet-152", "DeiT-tiny", "DeiT-small",
              "DeiT-small + TTA", "ZoomViT")  # fmt: skip
    values = (1.77, 2.63, 2.16, 2.17, 6.05, 7.25, 19.10, 21.10, 23.11)
    expected = dict(zip(models, [(value,) for value in values], strict=True))
    assert reported("zoomvit/table6", "test/acc1") == expected
    yolos = {"YOLOS (DeiT-S)": (36.1,), "YOLOS (ZoomViT-S)": (36.5,)}
    assert reported("zoomvit/table7", "test/ap") == yolos
    assert reported("zoomvit/table8", "test/acc1") == {
        "tiny, plain": (72.20,), "tiny, ZoomViT": (79.14,), "small, plain": (79.80,), "small, ZoomViT": (83.80,),
        "base, plain": (82.89,), "base, ZoomViT": (84.90,),
    }  # fmt: skip
    at = [f"test/acc1_at/{alpha}" for alpha in ("1", "0.15", "0.05", "0.01", "0.005")]
    assert reported("zoomvit/table9", *at) == {
        "eta = 2": (81.44, 82.22, 82.968, 83.80, 83.88),
        "eta = 0.5": (71.30, 74.29, 78.04, 81.50, 81.85),
    }
    assert reported("zoomvit/table10", "cost/scorer_params_m", "cost/macs_scorer_g", "test/acc1") == {
        "n = 2": (0.31, 0.58, 83.348),
        "n = 4": (0.83, 1, 83.42),
        "n = 6": (2.93, 1.4, 83.45),
    }
    found = reported("zoomvit/table11", "test/acc1")
    assert found == {"Zoomer": (83.348,), "DQ-VAE": (79.3,), "HPM": (81.42,)}
    assert reported("zoomvit/table12", "cost/train_h") == {"DeiT-S": (212,), "ZoomViT": (214,)}
    assert reported("zoomvit/table13", "test/acc1") == {"plain + TTA": (21.10,), "ZoomViT": (23.11,)}
    assert reported("zoomvit/table14", "test/acc1", "test/any_crop") == {"DeiT-S": (79.80, 88.61)}
    assert not reported("zoomvit/fig6b", "test/acc1_at/0.1") and not reported("zoomvit/fig6cd", "test/acc1")


@pytest.mark.parametrize(
    ("row", "other"), [("plain + TTA", "DeiT-small + TTA"), ("ZoomViT", "ZoomViT"), ("plain", "DeiT-small")]
)
def test_table_13_is_rows_of_table_6(row, other):
    """The same numbers of the same paper are the same runs."""
    tables = [load_table(TABLES, f"zoomvit/{name}") for name in ("table13", "table6")]
    configs = [composed(table.overrides_of(table.row(name))) for table, name in zip(tables, (row, other), strict=True)]
    assert configs[0] == configs[1]
    assert configs[0].dataset._target_.endswith("ImageNetA")


@pytest.mark.parametrize("table", [table for table in load_tables(TABLES) if table.name.startswith("zoomvit/")],
                         ids=lambda table: table.name)  # fmt: skip
def test_a_recipe_that_holds_training_images_of_imagenet_out_says_so(table):
    held_out = [row.name for row in table.rows if not row.unavailable and trains_on_a_part(table.overrides_of(row))]
    assert bool(held_out) == any("90 % of ImageNet" in caveat for caveat in table.caveats), held_out


def trains_on_a_part(overrides: list[str]) -> bool:
    """Whether a run, or one that its weights come from, trains on ImageNet without the images held out."""
    config = composed(overrides)
    if config.evaluate != "start":
        return config.dataset._target_.endswith("ImageNet") and config.dataset.val_fraction > 0
    return config.checkpoint is not None and "imagenet" in str(config.needs.model)


def test_the_raw_pixels_of_cnntentions_run_4b():
    for name, row in (("tuning", "run4b: CBAM r=8, Adam"), ("reduction", "r = 8, raw pixels")):
        table = load_table(TABLES, f"cnntention/{name}")
        plain = [one for one in table.rows if one.overrides and one.name != row]
        configs = {one.name: composed(table.overrides_of(one)).dataset for one in table.rows}
        assert (configs[row].mean, configs[row].std) == ([0, 0, 0], [1, 1, 1])
        assert all(configs[one.name].mean == [0.49187, 0.49186, 0.49186] for one in plain)


def test_the_convergence_control_reaches_its_drops():
    table = load_table(TABLES, "cnntention/convergence")
    control = composed(table.overrides_of(table.row("CBAM r=16, drops at 91 and 136")))
    assert "early_stopping" not in control.callbacks and control.scheduler.milestones == [91, 136]
    assert "early_stopping" in composed(table.overrides_of(table.row("CBAM r=16"))).callbacks


def test_nothing_but_these_columns_is_reported():
    checked = {"test/acc1", "test/error1", "val/error1_best", "val/best_epoch", "val/error1", "train/error1", "epochs"}
    checked |= {"test/mse", "test/mae", "val/mse_lowest_at", "test/acc1_over_alpha", "test/any_crop", "test/ap"}
    checked |= {f"cost/{name}" for name in ("params_m", "macs_g", "test_img_per_s", "scorer_params_m", "macs_scorer_g")}
    checked |= {f"test/acc1_at/{alpha}" for alpha in ("1", "0.15", "0.05", "0.01", "0.005")}
    checked |= {"cost/epoch_s", "cost/train_h", "val/acc1_best", *(f"val/epochs_to_error{e}" for e in (20, 15, 12, 10))}
    for table in load_tables(TABLES):
        for row in table.rows:
            assert {key for key, value in row.reported.items() if value is not None} <= checked
