import inspect
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from tests.config_files import loaded

FOLDER = Path(__file__).parents[2] / "configs" / "dataset"
UNSUITED = {  # what would take no notice of masks, or of what the set is seen as; its file has them not
    "oxford_pet": {"crop_pct", "masks", "erasing", "repeats", "sampler", "test_fraction", "fold", "folds"}
}
DATA_SETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def config(name):
    surroundings = {"data_dir": "nowhere", "seed": 3, "backbone": {"image_size": None}}
    return OmegaConf.create({**surroundings, "dataset": loaded(FOLDER / f"{name}.yaml")})


@pytest.mark.parametrize("name", DATA_SETS)
def test_names_every_argument_and_builds(name):
    dataset = config(name).dataset
    made = instantiate(dataset)
    wanted = {
        argument.name
        for cls in get_class(dataset._target_).__mro__
        if "__init__" in vars(cls) and cls.__module__.startswith("zoomexp.")
        for argument in inspect.signature(cls).parameters.values()
        if argument.kind is argument.KEYWORD_ONLY
    }
    named = set(dataset) - {"_target_"}
    assert named == wanted - UNSUITED.get(name, set())
    assert made.name == name and made.seed == 3 and made.data_dir == Path("nowhere")


@pytest.mark.parametrize("name", ["digits", "cluttered_digits"])
def test_constants_are_those_of_the_training_images(name):
    made = instantiate(config(name).dataset)
    made.setup()
    images = made._parts["train"].images / 255
    assert abs(images.mean() - made.mean[0]) < 0.005 and abs(images.std() - made.std[0]) < 0.005


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_constants(name, data_dir):
    if not (data_dir / f"{name}.npz").exists():
        pytest.skip(f"{name}.npz is not there")
    made = instantiate(config(name).dataset, data_dir=str(data_dir))
    images = made.read().train.images[::5] / 255.0
    assert abs(images.mean((0, 1, 2)) - made.mean).max() < 0.003
    assert abs(images.std((0, 1, 2)) - made.std).max() < 0.003


def test_the_data_sets_are_found():
    assert {"cifar10", "cifar100", "cluttered_digits", "digits", "mnist"} < set(DATA_SETS)
    assert {"cub200", "image_folder", "imagenet", "tiny_imagenet"} < set(DATA_SETS)
