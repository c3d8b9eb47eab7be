"""The errors that are answered in one line, without a traceback."""


class InputError(ValueError):
    """What the user asked for cannot be done. The message is one line that names the field and says what is allowed.

    `train.py` and `scripts/*` print it without a traceback and exit with code 2.
    """


class DivergedError(ArithmeticError):
    """The loss is NaN or infinite; the message names the step. `train.py` prints it and exits with code 1."""


class NotLearningError(ArithmeticError):
    """The run does not learn, and `callbacks.gates.stop=true` ends such runs; the message says what was seen.

    `train.py` prints it and exits with code 1.
    """


class FaultError(RuntimeError):
    """What a run needs gave way: the disk, the memory, a worker, a file of its own. The message is one line that says
    what happened and how to go on. `train.py` prints it and exits with code 1.
    """  # noqa: D205
