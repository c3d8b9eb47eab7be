"""What a forward leaves in a module for those who come after it, and copies do not take along."""

from typing import Any


class Transient:
    """Comes before `nn.Module` among the bases of a module that leaves tensors of its last forward in attributes.

    They stay attached to the autograd graph, so that a loss can act on them. Such a tensor can be neither deep-copied
    nor usefully pickled: copies and pickles start without what `transient` names, that is with the class's own value.
    """

    transient: tuple[str, ...] = ("auxiliary_loss", "auxiliary_logits")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self.transient}
