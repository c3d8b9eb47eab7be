"""On what a benchmark runs, in words."""

import os
import shutil
import subprocess

import torch

from zoomexp.results.provenance import processor


def pick_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def where(used: torch.device) -> str:
    """The device's name, and how time is measured on it."""
    if used.type != "cuda":
        return f"{processor()}, one thread, CPU time"
    clocks = clock_rates()
    return torch.cuda.get_device_name() + (f" at {clocks}" if clocks else "")


def clock_rates() -> str:
    """Clock rate of the GPU's cores, as nvidia-smi prints it; empty where it is not there."""
    if shutil.which("nvidia-smi") is None:
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    command = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader", *(["-i", visible] if visible else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""
