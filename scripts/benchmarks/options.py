"""Reading a benchmark's own options."""

from zoomexp.errors import InputError


def whole(options: dict[str, str], *names: str) -> list[int]:
    """The options of these names as whole numbers.

    Raises:
        InputError: If one is not a whole number of at least 1.
    """
    for name in names:
        if not options[name].isdigit() or int(options[name]) < 1:
            raise InputError(f"{name}={options[name]} must be a whole number, at least 1")
    return [int(options[name]) for name in names]
