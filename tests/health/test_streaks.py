"""From verdicts to findings: several looks in a row, once; gone and back again; through a checkpoint."""

import json

import pytest

from zoomexp.health.cures import Setting, cure
from zoomexp.health.findings import WORDS, Finding, mark, recorded, told
from zoomexp.health.streaks import Streaks

TWO = {"shut": 2}


def look(streaks, so, step, epoch=0):
    return streaks.add({"shut": (so, 0.02)}, TWO, epoch, step, "layer2", "Loupe")


def test_two_looks_in_a_row_at_different_steps_find_it_once():
    streaks = Streaks()
    assert look(streaks, True, 25) == []
    assert look(streaks, True, 25) == []  # the same weights
    assert look(streaks, True, 50, 1) == [Finding("shut", 0.02, 1, "layer2", "Loupe")]
    assert look(streaks, True, 75, 2) == []
    assert [finding.until for finding in streaks.findings] == [None]


def test_a_look_between_breaks_the_row():
    streaks = Streaks()
    assert [look(streaks, so, step) for step, so in enumerate((True, False, True, False, True))] == [[]] * 5
    assert streaks.findings == []


def test_what_is_gone_may_come_back_and_is_not_told_again():
    streaks = Streaks()
    for step in (1, 2):
        look(streaks, True, step)
    look(streaks, False, 3, 4)
    assert streaks.findings[0].until == 4
    assert mark({"health": recorded(streaks.findings)}) == ""
    assert [look(streaks, True, step, 5) for step in (4, 5)] == [[], []]
    assert streaks.findings[0].until is None


def test_sites_are_apart():
    streaks = Streaks()
    look(streaks, True, 1)
    assert streaks.add({"shut": (True, 0.0)}, TWO, 0, 2, "layer3", "Loupe") == []


def test_a_checkpoint_keeps_rows_and_findings():
    streaks, other = Streaks(), Streaks()
    look(streaks, True, 1)
    other.load_state_dict(json.loads(json.dumps(streaks.state_dict())))
    assert len(look(other, True, 2)) == 1
    streaks.load_state_dict(json.loads(json.dumps(other.state_dict())))
    assert streaks.findings == other.findings


def test_the_record_and_its_words():
    shut, idle = Finding("shut", 0.02, 1, "layer2", "Loupe"), Finding("zero_gate", 0.0, 3, "layer1", "MultiHead")
    facts = {"health": json.loads(json.dumps(recorded([idle, shut])))}
    assert [entry["site"] for entry in facts["health"]] == ["layer1", "layer2"]
    assert mark(facts) == "module shut"
    assert told(facts) == (
        "module shut: the gate of MultiHead at layer1 is at zero (gamma 0) since epoch 4; "
        "the mask of Loupe at layer2 is shut (mean 0.02 %) since epoch 2"
    )
    assert mark({"health": recorded([idle])}) == "module idle"
    assert mark({"health": recorded([shut, Finding("chance", 10.0, 2)])}) == "not learned"
    assert (recorded([]), told({"health": "ok"}), told({"health": None})) == ("ok", "", "")


@pytest.mark.parametrize("kind", WORDS)
def test_every_kind_has_a_cure_that_proposes_nothing_set_already(kind):
    finding = Finding(kind, 0.01, 0, "layer2", "Loupe")
    assert "optimizer" in (text := cure(finding, Setting("SGD", 0.1, 1e-4))) or text == "loss=sparse_gate"
    adamw = cure(finding, Setting("AdamW", 1e-3, 0.05, clip=1.0, sparsity=0.3))
    assert not {"optimizer=adamw", "gradient_clip_val", "loss=sparse_gate"} & set(adamw.replace("=1", " ").split())
