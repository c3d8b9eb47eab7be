"""What a data set does where there is no network."""

import tempfile
import urllib.request
from urllib.error import URLError

import pytest


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Nothing is downloaded, and temporary files lie where the test sees them."""

    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
