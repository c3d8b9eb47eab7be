"""The options of scripts, name=value, beside overrides that go on to the config."""

from collections.abc import Mapping, Sequence

from zoomexp.errors import InputError
from zoomexp.near import did_you_mean


def split(
    arguments: Sequence[str], defaults: Mapping[str, str], passed_on: Sequence[str] = (), flags: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Part a script's arguments into its own options and what goes on to the config.

    Args:
        arguments: As typed.
        defaults: The script's own options.
        passed_on: How the others begin; "" stands for any name=value.
        flags: Words that are looked for elsewhere.

    Raises:
        InputError: For anything else.

    >>> split(["seeds=1", "trainer=gpu"], {"seeds": "3", "scale": "small"}, passed_on=["trainer="])
    ({'seeds': '1', 'scale': 'small'}, ['trainer=gpu'])
    """
    options, others = dict(defaults), []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in defaults and equals:
            options[name] = value
        elif argument.lstrip("+").startswith(tuple(start for start in passed_on if start)) or (
            "" in passed_on and equals
        ):
            others.append(argument)
        elif argument not in flags:
            allowed = [*(f"{key}=" for key in defaults), *filter(None, passed_on), *flags]
            meant = did_you_mean(f"{name}{equals}", allowed)
            raise InputError(f"{argument}: not an option here; allowed: {', '.join(allowed)}{meant}")
    return options, others


def whole_numbers(options: Mapping[str, str], *names: str) -> list[int]:
    """The options of these names as whole numbers.

    Raises:
        InputError: If one is not a whole number of at least 1.
    """
    for name in names:
        if not options[name].isdigit() or int(options[name]) < 1:
            raise InputError(f"{name}={options[name]} must be a whole number, at least 1")
    return [int(options[name]) for name in names]


def check_choice(options: Mapping[str, str], name: str, allowed: Sequence[str]) -> None:
    """Refuse an option that is not among the words `allowed`."""
    if options[name] not in allowed:
        meant = did_you_mean(options[name], allowed)
        raise InputError(f"{name}={options[name]} is unknown; allowed: {', '.join(allowed)}{meant}")
