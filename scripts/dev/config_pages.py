"""configs/ as pages of the documentation: every group, choice, option and default, and the comment beside it.

What is written comes from the files alone, by the places that the YAML parser gives: nothing is typed twice.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

VERBATIM = {"experiment", "sweep", "table"}  # files that set options of other groups: shown as they are
OWN = {"defaults", "hydra", "_partial_", "_target_"}  # Hydra's keys, of which the page speaks in other words


@dataclass(frozen=True)
class Option:
    """A line of a config file."""

    name: str
    default: str
    comment: str


class ConfigFile:
    """One file of configs/, `name` without its group: `cbam`, `cnntention/mnist`."""

    def __init__(self, path: Path, group: str, name: str) -> None:
        self.name, self.text = name, path.read_text()
        self.lines = self.text.splitlines()
        self.everywhere = "# @package _global_" in self.lines
        place = group.removesuffix("/shared").replace("/", ".")  # shared: what files of the group above build on
        self.prefix = "" if self.everywhere or not group else f"{place}."
        self.root = yaml.compose(self.text)
        self.values = yaml.safe_load(self.text) or {}

    @property
    def head(self) -> list[str]:
        """The comment that the file begins with, as lines."""
        lines = []
        for line in self.lines:
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("# "))
        return [line for line in lines if not line.startswith("@package")]

    def options(self) -> Iterator[Option]:
        """What can be set, in the file's order."""
        for key, value in self.root.value:
            if key.value not in OWN:
                yield from self._below(key, value, self.prefix)

    def _below(self, key: yaml.Node, value: yaml.Node, prefix: str) -> Iterator[Option]:
        name = prefix + key.value
        if isinstance(value, yaml.MappingNode) and value.value:
            for inner, node in value.value:
                yield from self._below(inner, node, name + ".")
            return
        start, end = value.start_mark, value.end_mark
        default = " ".join(self.text[start.index : end.index].split()) or "null"
        yield Option(name, default, " ".join([*self._above(key.start_mark.line), *self._beside(end)]))

    def _beside(self, end: yaml.Mark) -> list[str]:
        return re.findall(r"\s#\s*(.*)", self.lines[end.line][end.column :])[:1] if end.line < len(self.lines) else []

    def _above(self, line: int) -> list[str]:
        """Lines of comment directly above, those at the file's beginning apart."""
        first = line
        while first and self.lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return [text.lstrip("# ") for text in self.lines[first:line]] if first else []

    def defaults(self) -> list[tuple[str, str]]:
        """The entries of its defaults list, each with the comment beside it."""
        lists = [value for key, value in self.root.value if key.value == "defaults"]
        entries = [node for value in lists for node in value.value]
        slices = [(self.text[node.start_mark.index : node.end_mark.index].strip(), node) for node in entries]
        return [(re.split(r"\s+#\s", entry)[0], self._note(node)) for entry, node in slices if entry != "_self_"]

    def _note(self, node: yaml.Node) -> str:
        return "".join(re.findall(r"\s#\s*(.*)", self.lines[node.start_mark.line])[:1])


def groups(configs: Path) -> dict[str, list[ConfigFile]]:
    """{group: its choices}; a folder inside a group is one (`tokens/scorer`), of experiments and tables a name."""
    found: dict[str, list[ConfigFile]] = {}
    for path in sorted(configs.glob("*/**/*.yaml")):
        place = path.relative_to(configs)
        group = place.parts[0] if place.parts[0] in VERBATIM else place.parent.as_posix()
        found.setdefault(group, []).append(ConfigFile(path, group, place.relative_to(group).with_suffix("").as_posix()))
    return found


def group_page(group: str, choices: list[ConfigFile], chosen: dict[str, str]) -> str:
    """The page of a group; `chosen` is what train.yaml takes of each."""
    default = f"Unless another is named: `{chosen[group]}`." if group in chosen else ""
    parts = [f"# `{group}`", default]
    for choice in choices:
        parts += [f"## {choice.name}", *(_whole(choice) if group in VERBATIM else _described(choice, group))]
    return "\n\n".join(part for part in parts if part) + "\n"


def root_page(root: ConfigFile) -> str:
    """What a run is made of: the groups in their order, and the options of none."""
    rows = [(f"`{entry}`", _plain(note)) for entry, note in root.defaults() if not entry.startswith("override")]
    chosen = "\n".join(["| choice | |", "|---|---|", *(f"| {entry} | {note} |" for entry, note in rows)])
    return "\n\n".join(["# A run", _plain(" ".join(root.head)), chosen, "## Options of no group", *_table(root)]) + "\n"


def _whole(choice: ConfigFile) -> list[str]:
    return [_plain(str(choice.values.get("title", ""))), f"```yaml\n{choice.text.rstrip()}\n```"]


def _described(choice: ConfigFile, group: str) -> list[str]:
    target = str(choice.values.get("_target_", ""))
    made = f"[`{target}`][{target}]" if target.startswith("zoomexp.") else f"`{target}`"
    entries = [entry for entry, _ in choice.defaults()]
    builds = ", ".join(f"`{entry}`" for entry in entries if not entry.endswith("@_here_"))
    lines = [_plain(" ".join(choice.head)), f"Makes {made}." if target else "", f"Takes {builds}." if builds else ""]
    below = [f"And all options of {_link(entry, group)}." for entry in entries if entry.endswith("@_here_")]
    return [*lines, *_table(choice), *below]


def _link(entry: str, group: str) -> str:
    """`shared/files@_here_` as a link from the group's page to where its options are."""
    name = entry.removesuffix("@_here_")
    page, _, file = name.rpartition("/")
    return f"[{name}]({group.rpartition('/')[2]}/{page}.md#{file})" if page else f"[{name}](#{file})"


def _table(file: ConfigFile) -> list[str]:
    rows = [f"| `{each.name}` | `{_cell(each.default)}` | {_plain(each.comment)} |" for each in file.options()]
    return ["\n".join(["| option | default | |", "|---|---|---|", *rows])] if rows else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Words that Markdown leaves as they are."""
    return re.sub(r"([\\`*_{}\[\]<>|#$])", r"\\\1", text)
