"""What somebody may have meant by a name that there is not."""

import difflib
from collections.abc import Iterable

MOST = 3  # names proposed


def near(name: str, known: Iterable[str]) -> list[str]:
    """Known names like `name`, the likest first: misspelt ones, and those whose last part it is.

    >>> near("atention", ["attention", "insertion"]), near("acc1", ["test/acc1", "val/loss"])
    (['attention'], ['test/acc1'])
    """
    names = list(known)
    ends = [one for one in names if name and one.replace("/", ".").endswith(f".{name}")]
    return list(dict.fromkeys([*difflib.get_close_matches(name, names, MOST), *ends]))[:MOST]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that asks whether a like name was meant; empty where no known name is like it.

    >>> did_you_mean("lupe", ["loupe", "cbam"]), did_you_mean("x", ["loupe"])
    ('; did you mean loupe?', '')
    """
    names = near(name, known)
    return f"; did you mean {' or '.join(names)}?" if names else ""
