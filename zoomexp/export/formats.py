"""The files that a network can be exported to, and reading them back to compare.

safetensors  the tensors by name, for this package (`backbone.weights=`), timm and whatever reads tensors
pt2          the program with its weights, for PyTorch without this package (`torch.export.load(FILE).module()`)
onnx         the program with its weights, for ONNX Runtime and others

Programs take batches of any size (at least 1) of images of the run's own size.
"""

import importlib.util
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.learning_rates import host_of

FORMATS = ("safetensors", "pt2", "onnx")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
Program = Callable[[Tensor], Tensor]


def check_exportable(net: nn.Module, format_name: str) -> None:
    """Refuse what cannot be exported, with the reason.

    Raises:
        InputError: The network's shapes depend on the images, it reads more than images, or a package is missing.
    """
    if format_name == "safetensors":
        return
    if host_of(net)[0]:
        reason = "how many tokens it keeps depends on the image, and a traced program's shapes may not"
        raise InputError(f"format={format_name}: this run's network has a token method: {reason}; format=safetensors")
    if tuple(getattr(net, "inputs", ("image",))) != ("image",):
        raise InputError(
            f"format={format_name}: the network reads a teacher's maps beside the images; format=safetensors"
        )
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if format_name == "onnx" and missing:
        raise InputError(f"format=onnx: needs the packages {', '.join(missing)}: pip install {' '.join(missing)}")


def write(net: nn.Module, format_name: str, path: Path, example: Tensor) -> None:
    """Write a network in evaluation mode.

    Args:
        net: Images (B, C, S, S) to logits (B, K).
        format_name: One of FORMATS.
        path: The file.
        example: Images (B, C, S, S), B at least 2: with one, PyTorch would take 1 for a constant.

    Raises:
        InputError: PyTorch cannot trace it; the message has its first line.
    """
    if format_name == "safetensors":
        from safetensors.torch import save_file

        tensors = {name: value.detach().clone().contiguous() for name, value in net.state_dict().items()}
        save_file(tensors, path, metadata={"format": "pt"})
        return
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own, of what it will change in later versions
            if format_name == "pt2":
                torch.export.save(torch.export.export(net, (example,), dynamic_shapes=({0: batch},)), path)
            else:
                names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
                names["dynamic_shapes"] = ({0: batch},)
                torch.onnx.export(net, (example,), path, dynamo=True, external_data=False, verbose=False, **names)
    except Exception as error:  # of tracing and translating, of many types
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"format={format_name}: the network cannot be traced ({type(error).__name__}: {reason})"
        ) from error


def read(path: Path, format_name: str, net: nn.Module) -> Program:
    """What a file computes: images (B, C, S, S) to logits (B, K).

    Args:
        path: Written by `write`.
        format_name: One of FORMATS.
        net: What was written; of tensors alone, a copy of it without weights takes them.
    """
    if format_name == "safetensors":
        from safetensors.torch import load_file

        copied = deepcopy(net)
        for tensor in copied.state_dict().values():
            tensor.zero_()
        copied.load_state_dict(load_file(path))
        return copied
    if format_name == "pt2":
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def check_equal(net: nn.Module, program: Program, images: Tensor, tolerance: float = 1e-4) -> float:
    """Compare a program with its network on images, all at once and one alone.

    Args:
        net: In evaluation mode.
        program: What was read back.
        images: (B, C, S, S), B at least 2.
        tolerance: Largest difference of a logit, relative to the largest logit.

    Returns:
        The largest difference.

    Raises:
        InputError: It is larger than that.
    """
    with torch.no_grad():
        wanted = net(images)
        found = torch.cat([program(images[:1]), program(images[1:])]), program(images)
    largest = max(float((one - wanted).abs().max()) for one in found)
    if not largest <= tolerance * max(1.0, float(wanted.abs().max())):
        raise InputError(f"export: what was written differs from the network: by {largest:.2g} in a logit; not kept")
    return largest
