"""The one error that means: what the user asked for cannot be done, and here is what can."""


class InputError(ValueError):
    """Bad input. The message is one line that names the field and says what is allowed.

    `train.py` and `scripts/*` print it without a traceback and exit with code 2.
    """
