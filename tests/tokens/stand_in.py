"""A stand-in for an accelerator: what would wait for it is counted, on a CPU.

`Remote` tensors say that they are on "meta" and hold their values on the CPU. Inside `Accelerator` every operation of
them is computed; one that would wait (a copy to the CPU, a shape that depends on values, a number read) is named in
`waits`, one that copies from the CPU in `copies`, and one that mixes tensors of both sides is an error, as on a GPU.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

REMOTE = torch.device("meta")
aten = torch.ops.aten
SHAPED_BY_VALUES = {
    aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
    aten.unique_consecutive.default, aten._local_scalar_dense.default, aten.equal.default, aten.bincount.default,
}  # fmt: skip
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor}
COPIES = {aten._to_copy.default, aten.copy_.default}


class Remote(Tensor):
    """A tensor on the stand-in."""

    @staticmethod
    def __new__(cls, values):
        made = Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), dtype=values.dtype, device=REMOTE, storage_offset=0
        )
        made.held = values
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} outside of the accelerator")


def to_remote(net, *tensors):
    """The network's parameters and buffers, and tensors, put on the stand-in."""
    for module in net.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = Remote(parameter.detach())
        module._buffers.update({name: Remote(b) for name, b in module._buffers.items() if b is not None})
    return [Remote(tensor) for tensor in tensors]


class Accelerator(TorchDispatchMode):
    """Runs operations of remote tensors; `waits` names those that wait, `copies` those from the CPU."""

    def __init__(self):
        super().__init__()
        self.waits, self.copies = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        remote = [isinstance(one, Remote) for one in tensors]
        target = kwargs.get("device")
        there = any(remote) if target is None else torch.device(target) == REMOTE
        if not any(remote) and not there:
            return function(*args, **kwargs)
        self._note(function, args, kwargs, tensors, remote, there)
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        given, named = tree_map(lambda one: one.held if isinstance(one, Remote) else one, (args, kwargs))
        result = function(*given, **named)
        if function._schema.is_mutable and isinstance(args[0], Tensor):
            return args[0]  # written to in place
        return tree_map(lambda one: Remote(one) if isinstance(one, Tensor) else one, result) if there else result

    def _note(self, function, args, kwargs, tensors, remote, there):
        name = str(function)
        if function in COPIES:
            if not there:
                self.waits.append(f"{name} to the CPU")
            elif not all(remote):
                self.copies.append(f"{name} from the CPU")
            return
        mixed = [one for one, far in zip(tensors, remote, strict=True) if not far and one.dim()]
        assert not mixed or not any(remote), f"{name} of tensors on both devices"
        by_mask = function in INDEXED and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if function in SHAPED_BY_VALUES or by_mask:
            self.waits.append(name)
        if function is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            self.waits.append(name)
