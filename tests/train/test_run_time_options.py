"""Options that act beside the training: profilers print, and W&B's variables stand for what is not typed."""

import pytest
from hydra import compose, initialize_config_dir

from tests.train.conftest import ROOT

OURS = {"WANDB_MODE": "offline", "WANDB_PROJECT": "zoomexp", "WANDB_ENTITY": None}
THEIRS = {"WANDB_MODE": "disabled", "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team"}
TYPED = {"mode": "online", "project": "mine", "entity": "me"}


@pytest.mark.parametrize(("name", "said"), [("simple", "Profiler Report"), ("advanced", "Profile stats for: ")])
def test_a_profiler_prints(train, name, said):
    ended = train("attention=none", f"trainer.profiler={name}")
    assert ended.code == 0, ended.err
    assert said in ended.out + ended.err and "run_training_epoch" in ended.out + ended.err


@pytest.mark.parametrize("typed", [{}, TYPED], ids=["as it is", "typed"])
@pytest.mark.parametrize("known", [OURS, THEIRS], ids=["without variables", "with variables"])
def test_wandbs_variables(monkeypatch, typed, known):
    for name, value in known.items():
        monkeypatch.setenv(name, value) if known is THEIRS else monkeypatch.delenv(name, raising=False)
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        logger = compose("train", overrides=[f"logger.{name}={value}" for name, value in typed.items()]).logger
    expected = {name.removeprefix("WANDB_").lower(): value for name, value in known.items()} | typed
    assert {name: logger[name] for name in expected} == expected
