"""What the runs below a folder of outputs have done: epochs, images a second, time and accuracy, one line each.

python scripts/dev/speeds.py OUTPUT_DIR
"""

import json
import sys
from pathlib import Path

import pandas as pd


def lines(outputs: Path) -> list[str]:
    """A line for each run, finished or not, that has a history."""
    found = []
    for path in sorted(outputs.glob("runs/*/*/*/history.csv")):
        rows, facts = pd.read_csv(path), json.loads((path.parent / "metrics.json").read_text())
        speed = rows["img_per_s"][1:].median() if len(rows) > 1 else rows["img_per_s"][0]
        scores = "  ".join(
            f"{name} {facts['metrics'][name]:.2f}" for name in ("test/acc1",) if name in facts["metrics"]
        )
        found.append(
            f"{path.parent.parent.name}: {len(rows)} epochs in {rows['epoch_s'].sum():.1f} s of training, "
            f"{speed:,.0f} images/s, loss {rows['train/loss'].iloc[-1]:.4f}, {facts['status']}  {scores}"
        )
    return found


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines(Path(sys.argv[1])))
