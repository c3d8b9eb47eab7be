"""Help and mistakes are answered at once, without importing torch."""

import os

import pytest

TRACE = (
    "import sys, atexit; atexit.register(lambda: sys.stderr.write('LOADED torch' if 'torch' in sys.modules else ''))"
)


@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [
        ("--help", 0, "attention: attzoom, cbam, loupe"),
        ("optimzer=sgd", 2, "error: optimzer: no such option; allowed: "),
        ("optimizer.rate=1", 2, "error: optimizer.rate: no such option; allowed: "),
        ("backbone=resnet21", 2, "error: "),
    ],
)
def test_quick_answers(start, tmp_path, argument, code, said):
    (tmp_path / "sitecustomize.py").write_text(TRACE)
    process = start(argument, PYTHONPATH=str(tmp_path))
    before = os.times()
    out, err = process.communicate(timeout=60)
    after = os.times()
    assert process.returncode == code
    assert said in (out if code == 0 else err)
    assert "LOADED torch" not in err
    if code:
        assert (len(err.splitlines()), out) == (1, "")
    assert (
        after.children_user + after.children_system - before.children_user - before.children_system < 4
    )  # 1 on an idle processor
