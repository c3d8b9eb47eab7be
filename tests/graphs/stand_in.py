"""What a CUDA graph does, on a CPU: the operations of one call are kept, and done again on the same tensors.

As in a graph nothing of Python runs in a replay, so a number of the host stays what it was when it was captured.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Keeps the operations done inside; refuses those that bring a value to the host."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.kept.append((func, args, kwargs or {}, out))
        return out

    def again(self):
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, out in self.kept:
                new = func(*args, **kwargs)
                for old, value in zip(tree_leaves(out), tree_leaves(new), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != value.data_ptr():
                        old.copy_(value)


class StandIn:
    """A `Recorder` on a CPU. A capture does the step, so the first replay does not."""

    def __init__(self, device):
        self.calls = []

    def run(self, step):
        self.calls.append("run")
        step()

    def watch(self, step):
        self.calls.append("watch")
        step()

    def capture(self, step):
        self.calls.append("capture")
        self.operations, self.fresh = Operations(), True
        places = [step.records.place, *step.task.model.buffers(), *vars(step.source).values()]
        kept = [(one, one.clone()) for one in places if isinstance(one, Tensor)]
        try:
            with self.operations:
                step()
        except Exception:  # a real capture that breaks on the way forward has done nothing
            for one, before in kept:
                one.copy_(before)
            raise

    def replay(self):
        self.calls.append("replay")
        if not self.fresh:
            self.operations.again()
        self.fresh = False

    def forget(self):
        self.operations = None
