"""What is no record is said in one line, or is no finished run, whoever asks."""

from pathlib import Path

import pytest

from zoomexp.errors import InputError
from zoomexp.results.collect import finished_run
from zoomexp.results.record import RunRecord
from zoomexp.results.report.runs import read_runs
from zoomexp.results.stored import RecordError, finished_facts, read_config, read_facts

DAMAGED = [
    "",
    "{",
    "{}",
    "[]",
    "null",
    "3",
    '"finished"',
    '{"status": "finished"}',
    '{"status": 3}',
    "\x00",
    "[" * 100_000,
]
CHOICES = {"dataset": "d", "backbone": "b", "attention": "a", "insertion": "i"}


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:24]))
def test_every_reader_answers_a_damaged_record_alike(tmp_path, text):
    record = RunRecord(tmp_path, {"seed": 0}, CHOICES, [])
    record.folder.mkdir(parents=True)
    (record.folder / "metrics.json").write_text(text)
    (record.folder / "config.yaml").write_text("seed: 0")
    assert not record.finished() and record.facts["status"] == "running"
    assert finished_run(record.folder) is None
    with pytest.raises(
        InputError, match=r"^needs\.x=.*: no run folder with a readable metrics\.json; name one of a run$"
    ):
        finished_facts(record.folder, "needs.x")
    with pytest.raises(RecordError, match=r"^metrics\.json") as error:
        read_facts(record.folder)
    assert "\n" not in str(error.value)
    assert read_runs(tmp_path / "runs") == ([], [f"{record.path}: {error.value}"])


@pytest.mark.parametrize("text", ["", "a: [1", "- 1", "3", "a: !!python/object:os.system {}"])
def test_a_damaged_config_is_one_line(tmp_path: Path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RecordError, match=r"^config\.yaml") as error:
        read_config(tmp_path)
    assert "\n" not in str(error.value)


def test_nothing_there_is_said(tmp_path):
    for read, name in ((read_facts, "metrics.json"), (read_config, "config.yaml")):
        with pytest.raises(RecordError, match=f"^no {name}$"):
            read(tmp_path)
