"""Whole training steps as one CUDA graph: `step` is what is captured, `capture` how, `loop` who asks Lightning for it.

A small network's step is some 500 kernels of a few microseconds each, and launching one costs the host longer than the
device needs for it. A graph launches all of them at once. What it replays is memory addresses: everything that changes
from step to step lies in tensors that stay where they are (the place in the epoch, the rates, the running records).
"""
