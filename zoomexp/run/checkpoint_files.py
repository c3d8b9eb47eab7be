"""Checkpoints on disk: written as a whole, the one before the last kept, read without running what they hold."""

import io
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from zoomexp.atomic_file import atomic_file
from zoomexp.processes import first_process
from zoomexp.results.record import LAST, PREVIOUS
from zoomexp.weights.checkpoint import read_checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes checkpoints, with two differences.

    Its own temporary file lies in the system's folder for such files, from where it is copied if that is another disk:
    a kill or a full disk then leaves half a checkpoint under the name of a whole one. And `last.ckpt`, once there is a
    new one, becomes `previous.ckpt`.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to the local file `path`; `storage_options` are not used.

        Raises:
            OSError: it cannot be written; the checkpoints that are there stay as they are.
        """
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)  # not to the disk at once: torch hides why a write fails
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            partial.write_bytes(content.getbuffer())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))


def to_resume(folder: Path) -> Path | None:
    """The checkpoint that the run in `folder` goes on from, which can be read; None: it begins anew.

    Says so, in one line each, where one cannot be read: the one before then serves. A damaged `best.ckpt` cannot be
    made again from a later epoch, so that the run begins anew.
    """
    kept = folder / "checkpoints"
    found = [kept / name for name in (LAST, PREVIOUS) if (kept / name).exists()]
    best = kept / "best.ckpt"
    if found and best.exists() and (reason := _damage(best)):
        _say(f"{best} {reason}: the run begins anew")
        return None
    for path in found:
        reason = _damage(path)
        if reason is None:
            return path
        left = path is not found[-1]
        _say(f"{path} {reason}: {'goes on from the one before' if left else 'the run begins anew'}")
    return None


def _damage(path: Path) -> str | None:
    try:
        read_checkpoint(path)
    except Exception as error:
        return f"cannot be read ({type(error).__name__})"
    return None


def _say(line: str) -> None:
    if first_process():
        sys.stderr.write(line + "\n")
