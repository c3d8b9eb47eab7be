"""Relevance maps on disk: resumed without repeating, never mixed, read in random batches."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from torch import nn

from zoomexp.errors import InputError
from zoomexp.relevance.store import MapReader, MapWriter, Source, weights_hash

SOURCE = Source("lrp", "deit_tiny", "0123456789abcdef", "digits/train", "resize 64", "min_max")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps" / "teacher.npy"


def maps(indices, side=4):
    return torch.stack([torch.full((side, side), float(i) / 64) for i in indices])


def filled(path, images=10):
    writer = MapWriter(path, SOURCE, images, 4)
    writer.write(range(images), maps(range(images)))
    return path


def test_a_killed_extraction_repeats_no_finished_batch(path):
    writer = MapWriter(path, SOURCE, 10, 4)
    assert writer.missing().tolist() == list(range(10))
    writer.write([0, 1, 2], maps([0, 1, 2]))
    writer.write(torch.tensor([7, 5]), maps([7, 5]))
    del writer
    again = MapWriter(path, SOURCE, 10, 4)
    assert again.missing().tolist() == [3, 4, 6, 8, 9]
    with pytest.raises(InputError, match="is not finished, 5 of 10 maps are missing"):
        MapReader(path, "digits/train", 10)
    again.write(again.missing(), maps(again.missing()))
    reader = MapReader(path, "digits/train", 10, side=4)
    assert len(reader) == 10
    batch = reader.read(torch.tensor([7, 0, 9, 7]))
    assert batch.dtype == torch.float16
    assert torch.equal(batch.float(), maps([7, 0, 9, 7]))
    assert reader.facts["teacher"] == "deit_tiny"


def test_a_kill_between_map_and_marker_loses_nothing_but_that_batch(path):
    writer = MapWriter(path, SOURCE, 4, 4)
    writer.write([0, 1], maps([0, 1]))
    writer._maps[2:] = 1
    writer._maps.flush()
    assert MapWriter(path, SOURCE, 4, 4).missing().tolist() == [2, 3]


def test_two_writers_share_a_file(path):
    one, two = (MapWriter(path, SOURCE, 10, 4) for _ in range(2))
    one.write(range(5), maps(range(5)))
    two.write(range(5, 10), maps(range(5, 10)))
    assert len(MapReader(path, "digits/train", 10)) == 10


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Source)])
def test_sources_do_not_mix(path, field):
    filled(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"has {field} .* wanted 'another'"):
        MapWriter(path, dataclasses.replace(SOURCE, **{field: "another"}), 10, 4)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cub/train", 10), "has dataset 'digits/train', wanted 'cub/train'"),
        (("digits/train", 11), "has images 10, wanted 11"),
        (("digits/train", 10, 14), "has side 4, wanted 14"),
    ],
)
def test_a_reader_refuses_other_maps(path, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        MapReader(filled(path), *arguments)
    assert "\n" not in str(error.value)


def test_damaged_files_are_named(path):
    with pytest.raises(InputError, match="extract the maps first"):
        MapReader(path, "digits/train", 10)
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"teacher\.npy is missing or damaged"):
        MapReader(path, "digits/train", 10)
    np.save(path, np.zeros((9, 4, 4), np.float16))
    with pytest.raises(InputError, match=r"holds float16 \(9, 4, 4\), wanted float16 \(10, 4, 4\)"):
        MapReader(path, "digits/train", 10)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="is missing or damaged"):
        MapReader(path, "digits/train", 10)
    path.write_bytes(whole)
    path.with_suffix(".done").write_bytes(b"\1")
    with pytest.raises(InputError, match=r"teacher\.done is missing or damaged"):
        MapReader(path, "digits/train", 10)
    path.with_suffix(".json").write_text("[1")
    with pytest.raises(InputError, match=r"teacher\.json is damaged"):
        MapReader(path, "digits/train", 10)


def test_the_writer_refuses_maps_that_do_not_fit(path):
    writer = MapWriter(path, SOURCE, 10, 4)
    with pytest.raises(InputError, match="S must be 4, got maps of shape"):
        writer.write([0], maps([0], side=7))
    with pytest.raises(InputError, match="not finite in half precision"):
        writer.write([0], maps([0]) + 1e6)
    assert len(writer.missing()) == 10


def test_the_json_names_everything(path):
    facts = json.loads(filled(path).with_suffix(".json").read_text())
    assert facts == dataclasses.asdict(SOURCE) | {"images": 10, "side": 4}


def test_a_random_batch_is_read_in_microseconds(tmp_path):
    writer = MapWriter(tmp_path / "maps.npy", SOURCE, 5000, 14)
    writer.write(range(5000), torch.rand(5000, 14, 14))
    reader = MapReader(tmp_path / "maps.npy", "digits/train", 5000)
    batches = torch.randint(0, 5000, (200, 128))
    times = []
    for batch in batches:
        start = time.perf_counter()
        reader.read(batch)
        times.append(time.perf_counter() - start)
    assert min(times) < 50e-6  # the least, as the machine may be busy


def test_the_hash_is_of_names_and_values():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(torch.bfloat16)
    first = weights_hash(model)
    assert len(first) == 16
    assert weights_hash(model) == first
    assert weights_hash(nn.ModuleDict({"a": model})) != first
    model[1].num_batches_tracked += 1
    assert weights_hash(model) != first
