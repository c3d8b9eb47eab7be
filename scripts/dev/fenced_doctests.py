"""An extension of Griffe (mkdocs.yml): examples in docstrings are code on the site, not quotations.

`>>>` begins a quotation in Markdown, and a list that follows it a link.
"""

from typing import Any

import griffe


def fenced(text: str) -> str:
    """A docstring with a fence around each example, which goes from `>>>` to the next empty line."""
    lines: list[str] = []
    margin = None
    for line in [*text.splitlines(), ""]:
        begins = line.lstrip().startswith(">>>")
        if margin is None and begins:
            margin = line[: len(line) - len(line.lstrip())]
            lines.append(f"{margin}```pycon")
        elif margin is not None and not line.strip():
            lines.append(f"{margin}```")
            margin = None
        lines.append(line)
    return "\n".join(lines[:-1])


class FencedDoctests(griffe.Extension):
    """Fences the examples of every docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by Griffe for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
