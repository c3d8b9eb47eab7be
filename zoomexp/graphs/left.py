"""What a captured step leaves behind on the host: which tensors its objects and gradients refer to.

A replay calls nothing of Python, so it fills the tensors of the capture and gives them to nobody. A forward in between
(of a validation, of a smaller batch) leaves its own in their place, and Lightning drops gradients before a validation:
whoever then reads a module's map or a gradient would see what was, or nothing.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class Left:
    """Made before a capture, told of its end by `note`, and put back before each replay.

    Args:
        objects: whose attributes the step sets.
        parameters: whose gradients it makes.
    """

    def __init__(self, objects: Sequence[object], parameters: Sequence[Tensor]) -> None:
        self.objects, self.parameters = objects, parameters
        self.before = [dict(vars(one)) for one in objects]
        self.attributes: list[tuple[dict[str, Any], str, Any]] = []
        self.gradients: list[tuple[Tensor, Tensor]] = []

    def note(self) -> None:
        """Keep what the capture has set."""
        for one, before in zip(self.objects, self.before, strict=True):
            now = vars(one)
            self.attributes += [(now, name, value) for name, value in now.items() if value is not before.get(name)]
        self.gradients = [(one, one.grad) for one in self.parameters if one.grad is not None]
        self.before = []

    def put_back(self) -> None:
        """Let everything refer to what the next replay fills; of the gradients, which go together, one is looked at."""
        for place, name, value in self.attributes:
            place[name] = value
        if self.gradients and self.gradients[0][0].grad is not self.gradients[0][1]:
            for parameter, gradient in self.gradients:
                parameter.grad = gradient
