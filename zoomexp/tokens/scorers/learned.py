"""What scorers that learn on their own share: the place where their last loss is kept."""

from torch import Tensor, nn

from zoomexp.transient import Transient


class LearnedScorer(Transient, nn.Module):
    """A scorer that leaves the loss of its last training forward in `auxiliary_loss`.

    The loss is a scalar in the autograd graph, or None in eval mode and before the first forward. The scores carry no
    gradient, so it alone trains the scorer. It can be neither deep-copied nor usefully pickled: copies start without.
    """

    auxiliary_loss: Tensor | None = None
