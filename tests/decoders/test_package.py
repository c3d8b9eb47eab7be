"""Without the package the error says how to get it, and what needs none; a config is made all the same."""

from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.decoders.test_fcn import built
from zoomexp.errors import InputError
from zoomexp.run.build import make

CONFIGS = Path(__file__).parents[2] / "configs" / "decoder"


@pytest.mark.parametrize("name", ["unet", "fpn", "upernet"])
def test_it_is_asked_for_where_a_network_is_built(name, monkeypatch):
    monkeypatch.setattr("zoomexp.decoders.pyramid.find_spec", lambda name: None)
    made = make(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    assert isinstance(made, partial)
    with pytest.raises(InputError, match=rf"decoder={name}: needs a package: pip install 'zoomexp\[segmentation\]'"):
        built(decoder=made)
