"""Recipes that are known to kill Loupe's mask: the run says so, in every place."""

import json
import re

import pytest

DEAD = (
    "attention=loupe", "backbone=resnet20", "dataset=cluttered_digits", "optimizer=sgd", "optimizer.lr=0.1",
    "loss=cross_entropy", "scheduler=cosine", "trainer.gradient_clip_val=null", "logger=none",
)  # fmt: skip
FORCED = (
    "attention=loupe", "attention.bias=-20", "dataset=digits", "dataset.train_size=128", "dataset.test_size=60",
    "dataset.batch_size=16", "optimizer=sgd", "optimizer.lr=1e-6", "loss=cross_entropy", "logger=none",
    "trainer.max_epochs=2",
)  # fmt: skip


def findings(facts):
    return {entry["kind"]: entry for entry in facts["health"]}


def test_a_shut_mask_is_in_the_record_and_in_the_table(train, facts):
    ended = train(base=FORCED)
    assert ended.code == 0
    found = findings(facts())["shut"]
    assert (found["site"], found["module"], found["until"]) == ("layer2", "Loupe", None)
    assert found["epoch"] < 2
    assert 0 <= found["value"] < 1
    assert re.search(r"^health +(module shut|not learned): the mask of Loupe at layer2 is shut", ended.out, re.M)


def test_it_stops_where_that_is_asked_for(train, facts):
    ended = train("callbacks.gates.stop=true", base=FORCED)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("error: the mask of Loupe at layer2 is shut")
    assert facts()["status"].startswith("failed: NotLearningError: the mask of Loupe at layer2 is shut")
    assert "shut" in findings(facts())


def test_in_a_sweep(train, tmp_path):
    ended = train("-m", "callbacks.gates.stop=true,false", base=FORCED)
    assert ended.code == 1
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    jobs = [json.loads((sweep / f"job_{number}.json").read_text()) for number in (0, 1)]
    assert jobs[0]["status"].startswith("failed: NotLearningError: the mask of Loupe at layer2 is shut")
    assert "shut" in findings(jobs[1])
    assert "Traceback" not in ended.err
    assert "finished, " in ended.out
    assert "1 of 2 jobs failed" in ended.err


def test_a_smoke_run_and_one_that_is_only_tested_are_not_called_dead(train, folders):
    trained = train("trainer=smoke", base=FORCED)
    (folder,) = folders()
    facts = json.loads((folder / "metrics.json").read_text())
    tested = train("trainer=smoke", "evaluate=start", f"checkpoint={folder / facts['weights']}", base=FORCED)
    (other,) = set(folders()) - {folder}
    assert (facts["health"], json.loads((other / "metrics.json").read_text())["health"]) == ("ok", None)
    for ended in (trained, tested):
        assert ended.code == 0
        assert "health" not in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_of_former_times_is_called_shut_where_it_dies(train, facts, seed):
    """SGD at 0.1 shuts most masks within 30 steps; the cosine has its eight epochs, as it had.

    Which seeds die hangs on rounding: of these three all do with one thread of an AMD EPYC, and not the last with two.
    """
    assert train(f"seed={seed}", "trainer.max_epochs=2", "scheduler.epochs=8", base=DEAD).code == 0
    stored = facts()
    died = stored["metrics"]["test/acc1"] < 15  # chance is 10
    assert (stored["health"] != "ok") == died
    if died:
        found = findings(stored)["shut"]
        assert (found["site"], found["epoch"] < 2) == ("layer2", True)
        assert found["value"] < 1
