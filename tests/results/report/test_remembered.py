"""What is remembered holds in the same state only."""

import pytest

from zoomexp.results.report.remembered import Remembered, state_of


def never():
    raise AssertionError("it is known")


def test_an_answer_is_found_once_in_one_state(tmp_path):
    file = tmp_path / "deep" / "known.json"
    known = Remembered(file, "state")
    assert known.answer(["a", "b"], lambda: ["x"]) == ["x"]
    assert known.answer(["a", "b"], never) == ["x"]
    assert known.answer(["a b"], lambda: []) == []
    known.save()
    again = Remembered(file, "state")
    assert (again.answer(["a", "b"], never), again.answer(["a b"], never)) == (["x"], [])
    assert Remembered(file, "other").answers == {}


@pytest.mark.parametrize("content", ["", "[]", '{"state": "state"}', '{"state": "state", "answers": 3}', "\udce9"])
def test_a_damaged_file_counts_for_nothing(tmp_path, content):
    (tmp_path / "known.json").write_text(content, errors="surrogateescape")
    assert Remembered(tmp_path / "known.json", "state").answers == {}


def test_an_error_is_not_remembered(tmp_path):
    known = Remembered(tmp_path / "known.json", "state")
    with pytest.raises(AssertionError):
        known.answer(["a"], never)
    assert known.answer(["a"], lambda: ["x"]) == ["x"]


def test_the_state_is_that_of_code_and_configs(tmp_path):
    (tmp_path / "sub").mkdir()
    seen = [state_of([tmp_path])]
    for name, text in (("a.py", "1"), ("a.py", "2"), ("sub/b.yaml", "1"), ("c.txt", "1")):
        (tmp_path / name).write_text(text)
        seen.append(state_of([tmp_path]))
    assert len(set(seen[:4])) == 4
    assert seen[4] == seen[3]
    assert state_of([tmp_path / "a.py"]) == seen[2]  # a file may be named itself
