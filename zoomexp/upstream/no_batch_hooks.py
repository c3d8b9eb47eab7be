"""What keeps Lightning's loop short: hooks it passes over because there is nothing to call.

Library: pytorch-lightning 2.6. Can go when `test_lightning_still_calls_hooks_that_do_nothing` in
`tests/upstream/test_still_needed.py` fails.
"""

from typing import Any


class NoBatchHooks:
    """Comes before a callback or a module of Lightning's among the bases; each of its step hooks is None.

    Lightning calls every hook of every callback and of the module in every step, mostly to do nothing, at one to three
    microseconds a call; one that cannot be called it passes over. A class that needs a hook defines it as usual.
    """

    on_train_batch_start: Any = None
    on_train_batch_end: Any = None
    on_before_zero_grad: Any = None
    on_before_optimizer_step: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
