"""What was typed."""

from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser


@lru_cache(maxsize=10_000)
def key_of(override: str) -> str:
    """The option or group that an override sets.

    >>> [key_of(override) for override in ("++trainer.precision=bf16-mixed", "~callbacks.history", "seed=1")]
    ['trainer.precision', 'callbacks.history', 'seed']
    """
    return OverridesParser.create().parse_override(override).key_or_group
