"""scripts/dev/gpu.sh: a part that there is not, what a run's line says. Its parts take minutes; TINY=1 tries them."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def started(*command, **extra):
    done = subprocess.run(command, env=os.environ | extra, capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout


def test_a_part_that_there_is_not(tmp_path):
    code, said = started("scripts/dev/gpu.sh", str(tmp_path), "graphs", OUTPUT_DIR=str(tmp_path / "out"))
    assert (code, said) == (2, "graphs: no such part; allowed: graph, tests, tokens, others, paper\n")


def test_no_step_begins_when_the_time_is_over(tmp_path):
    given = {"OUTPUT_DIR": str(tmp_path / "out"), "LIMIT": "0", "BRING": str(tmp_path), "PYTHON": "false"}
    code, said = started("scripts/dev/gpu.sh", str(tmp_path), "tests", **given)
    assert code == 1 and "== tests: left out, the time is over\n" in said and said.endswith("failed: tests\n")


def test_a_run_is_one_line(tmp_path):
    folder = tmp_path / "runs/cifar10/resnet20-none-default/seed0-1234"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"status": "finished", "metrics": {"test/acc1": 91.256}}))
    (folder / "history.csv").write_text("epoch,epoch_s,img_per_s,train/loss\n0,4,10,2.5\n1,1,2000,1.25\n")
    code, said = started(sys.executable, "scripts/dev/speeds.py", str(tmp_path))
    line = (
        "resnet20-none-default: 2 epochs in 5.0 s of training, 2,000 images/s, loss 1.2500, finished  test/acc1 91.26\n"
    )
    assert (code, said) == (0, line)
