"""A W&B that cannot be used: the run is kept offline."""

import pytest
import wandb

from zoomexp.run.wandb_offline import begin


class Refused:
    """A logger whose run W&B refuses."""

    def __init__(self, mode):
        self._wandb_init = {"mode": mode}

    @property
    def experiment(self):
        raise wandb.Error("no key\nand more")


@pytest.mark.parametrize("mode", ["online", "shared"])
def test_a_run_that_cannot_be_online_is_kept_offline(monkeypatch, capsys, mode):
    monkeypatch.setattr("os.environ", {})
    logger = Refused(mode)
    begin(logger, "here")
    assert logger._wandb_init["mode"] == "offline"
    said = "W&B cannot be used (no key): kept offline; upload it later: wandb sync here/wandb/*\n"
    assert capsys.readouterr().err == said
