"""Capturing a step: two as they are, one under watch, and then the graph that is replayed from there on.

The steps before the capture are steps of the training. They create the optimizer's state, choose kernels and compile,
which a capture could not. All of them run on the stream of the capture: what autograd keeps of a stream would otherwise
tie the graph to another one.
"""

import contextlib
import random
import warnings
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import nn

from zoomexp.graphs.left import Left

WARM = 2  # steps before the one under watch

Step = Callable[[], None]


class Recorder(Protocol):
    """Runs, watches, captures and replays a step; on a GPU `CudaRecorder`."""

    def run(self, step: Step) -> None:
        """Do a step as it is."""

    def watch(self, step: Step) -> str | None:
        """Do a step; returns what in it no graph can hold, or None."""

    def capture(self, step: Step) -> None:
        """Record a step without doing it."""

    def replay(self) -> None:
        """Do the recorded step."""

    def forget(self) -> None:
        """Let go of what was recorded, if anything was, and of its memory."""


class CudaRecorder:
    """See `Recorder`.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, step: Step) -> None:
        """See `Recorder`."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            step()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def watch(self, step: Step) -> str | None:
        """See `Recorder`: whatever waits for the device, or draws from torch's generator of the host."""
        before, drawn = torch.cuda.get_sync_debug_mode(), torch.get_rng_state()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self.run(step)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        waits = [one for one in caught if "called a synchronizing" in str(one.message)]
        for one in caught:
            if one not in waits and "prototype" not in str(one.message):  # of the watching itself
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        if not torch.equal(torch.get_rng_state(), drawn):
            return "draws random numbers on the host"
        if not waits:
            return None
        return f"waits for the device {len(waits)} times, first at {waits[0].filename}:{waits[0].lineno}"

    def capture(self, step: Step) -> None:
        """See `Recorder`; one that fails leaves stream, allocator and random numbers as they were."""
        index = self.device.index or 0
        generator, current = torch.cuda.default_generators[index], torch.cuda.current_stream(self.device)
        kept, pool, self.graph = generator.clone_state(), torch.cuda.graph_pool_handle(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                step()
        except BaseException:
            # torch (2.11) ends a capture that broke before it has put these back
            torch.cuda.set_stream(current)
            generator.graphsafe_set_state(kept)
            with contextlib.suppress(RuntimeError):
                end_allocation(torch._C)(index, pool)
            self.graph = None
            raise

    def replay(self) -> None:
        """See `Recorder`."""
        assert self.graph is not None  # a step has been captured
        self.graph.replay()

    def forget(self) -> None:
        """See `Recorder`."""
        self.graph = None


class Captured:
    """A step that becomes a graph on its way, or stays as it is where it cannot.

    Args:
        step: what to do.
        recorder: how.
        modules: whose numbers on the host must not change in a step.
        told: called once, with why the step stays as it is, or None when it has been captured.
        keep_out: called with the exception of a capture that failed; true: it is to be raised (memory ran out).
    """

    def __init__(
        self,
        step: Step,
        recorder: Recorder,
        modules: nn.Module,
        told: Callable[[str | None], None],
        keep_out: Callable[[BaseException], bool],
    ) -> None:
        self.step, self.recorder, self.modules = step, recorder, modules
        self.told, self.keep_out = told, keep_out
        self.done, self.state = 0, "warm"
        self.trains: tuple[bool, ...] = ()
        self.left: Left | None = None
        self.replays = False  # whether that was told

    def begin(self) -> None:
        """Begin an epoch: where it trains other parameters or norms than the graph, another graph takes its place."""
        trains = trained(self.modules)
        if trains != self.trains and self.state != "eager":
            self.done, self.state, self.left = 0, "warm", None
            self.recorder.forget()
        self.trains = trains

    def __call__(self, seen: bool = False) -> None:
        """Do one step.

        Args:
            seen: somebody looks on from inside, by hooks that a replay would not call: the step is done as it is.
        """
        if self.state == "ready" and not seen:
            self._capture()
        if self.state == "graph" and not seen:
            assert self.left is not None  # it has been captured
            self.left.put_back()
            self.recorder.replay()
        elif self.state == "eager" or self.done < WARM or seen:
            self.recorder.run(self.step)
        elif reason := self._watched():
            self.leave(reason)
        else:
            self.state = "ready"
        self.done += 1

    def _capture(self) -> None:
        self.left = Left([self.step, *self.modules.modules()], list(self.modules.parameters()))
        try:
            self.recorder.capture(self.step)
        except Exception as error:
            first = error.__context__ or error  # ending a capture that failed is an error of its own
            if self.keep_out(first):
                raise first from None
            lines = str(first).splitlines() or [type(first).__name__]
            self.leave(f"the capture failed: {lines[0]}")
        else:
            self.left.note()
            self.state = "graph"
            if not self.replays:
                self.replays = True
                self.told(None)

    def _watched(self) -> str | None:
        """Do a step under watch; returns what in it a graph would leave out."""
        numbers, draws = host_numbers(self.modules), host_draws()
        reason = self.recorder.watch(self.step)
        if reason is None and host_draws() != draws:
            reason = "draws random numbers on the host"
        after = host_numbers(self.modules)
        if reason is None and after != numbers:
            name = next(name for name in after if after[name] != numbers.get(name))
            reason = f"{name} changes from step to step on the host"
        return reason

    def leave(self, reason: str) -> None:
        """Stay eager, and say why, once."""
        if self.state != "eager":
            self.state = "eager"
            self.told(reason)


def end_allocation(bindings: Any) -> Callable[..., None]:
    """What ends an allocation to a graph's pool in torch's bindings; torch 2.8 gave it another name."""
    new = getattr(bindings, "_cuda_endAllocateToPool", None)
    return cast(Callable[..., None], new or bindings._cuda_endAllocateCurrentStreamToPool)


def trained(module: nn.Module) -> tuple[bool, ...]:
    """Which parameters learn, and which modules are in training: what a graph of a step takes for granted."""
    learn = tuple(parameter.requires_grad for parameter in module.parameters())
    return learn + tuple(one.training for one in module.modules())


def host_numbers(module: nn.Module) -> dict[str, object]:
    """The numbers, words and truths that a module and those in it keep as attributes, by dotted name."""
    plain = (int, float, str)  # a bool is an int
    return {
        f"{path}.{name}".lstrip("."): value
        for path, one in module.named_modules()
        for name, value in vars(one).items()
        if isinstance(value, plain)
    }


def host_draws() -> int:
    """A number that changes where Python's or numpy's global generator is drawn from."""
    state: Any = np.random.get_state()
    return hash((random.getstate(), state[1].tobytes(), state[2]))
