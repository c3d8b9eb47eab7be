"""Numbers below 1.2e-38, which a processor works on a hundred times more slowly than on others."""

import torch

from zoomexp.arguments import boolean

PIECE = 32_768  # of a tensor's numbers, the least that PyTorch gives to a thread


def flush_denormals(on: bool) -> None:
    """Have the processor take such numbers for zero, or not; without a word where it cannot.

    A module whose gate has closed leaves weights that decay into that range, and then every product with them is slow:
    an epoch that took moments takes minutes. No result hangs on them: they are smaller than any rounding.

    It holds for this thread and those that it starts from then on, so that it comes before all work of a run.

    Args:
        on: whether they are taken for zero.

    Raises:
        InputError: if it is neither true nor false.
    """
    boolean("trainer.flush_denormal", on)
    torch.set_flush_denormal(on)


def flushes_denormals() -> bool:
    """Whether they are taken for zero now, on all threads that work is shared out to."""
    return bool((torch.full((PIECE * torch.get_num_threads(),), 1e-42) * 1 == 0).all())
