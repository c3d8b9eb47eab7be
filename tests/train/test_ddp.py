"""Two processes on the CPU: one run folder, every test image once, the numbers of the shared work."""

import json

import numpy as np
import pandas as pd
import pytest


@pytest.mark.slow
def test_two_processes(start, tmp_path):
    process = start(
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=2", "dataset.canvas=32", "dataset.batch_size=32",
        "dataset.train_images=300", "dataset.test_images=121", "dataset.eval_batch_size=50", "logger=none",
        f"output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert out.count("run folder") == 1
    assert len([line for line in err.splitlines() if line.startswith("epoch ")]) == 2
    (folder,) = (path.parent for path in tmp_path.glob("out/runs/*/*/*/metrics.json"))
    facts = json.loads((folder / "metrics.json").read_text())
    assert (facts["status"], facts["cost"]["devices"]) == ("finished", 2)
    assert not list(folder.rglob("*.partial*"))
    predictions = np.load(folder / "predictions.npz")
    np.testing.assert_array_equal(predictions["index"], np.arange(121))
    accuracy = 100 * np.mean(predictions["top1"] == predictions["label"])
    assert facts["metrics"]["test/acc1"] == pytest.approx(accuracy, abs=1e-4)
    assert list(pd.read_csv(folder / "history.csv")["step"]) == [4, 8]  # 270 images, 135 each, 4 full batches
