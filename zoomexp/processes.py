"""The processes that share a run."""


def first_process() -> bool:
    """Whether this is the only process of the run, or the first of those that share it."""
    from pytorch_lightning.utilities import rank_zero_only

    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning sets it on the function
