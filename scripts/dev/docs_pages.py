"""A hook of MkDocs (mkdocs.yml): the pages of the reference, made as the site is built, and their places in the menu.

Code: a page for each room of the house, its modules with what their docstrings say. They are read, never imported.
Options: a page for each config group (config_pages.py). The notebook is a page as well, without what it would print.
"""

import json
from pathlib import Path

from config_pages import ConfigFile, group_page, groups, root_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs/tutorials/quickstart.ipynb"
NOTEBOOK_PAGE = "tutorials/notebook.md"  # which mkdocs.yml has in the menu


def pages() -> dict[str, dict[str, str]]:
    """{section: {path of the page: its text}}."""
    root = ConfigFile(ROOT / "configs/train.yaml", "", "train")
    chosen = {
        key: str(value) for entry in root.values["defaults"] if isinstance(entry, dict) for key, value in entry.items()
    }
    options = {"reference/options/run.md": root_page(root)}
    for group, choices in groups(ROOT / "configs").items():
        options[f"reference/options/{group}.md"] = group_page(group, choices, chosen)
    return {"Options": options, "Code": {f"reference/code/{room}.md": code_page(room) for room in rooms()}}


def rooms() -> list[str]:
    """The packages of zoomexp, `zoomexp` itself first."""
    folders = sorted(path.parent for path in (ROOT / "zoomexp").rglob("__init__.py"))
    return [folder.relative_to(ROOT).as_posix() for folder in folders]


def code_page(room: str) -> str:
    """A page with the modules of a package, by what mkdocstrings reads from them."""
    name = room.replace("/", ".")
    modules = sorted(path.stem for path in (ROOT / room).glob("*.py") if path.stem not in ("__init__", "__main__"))
    parts = [f"# `{name}`", f"::: {name}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}"]
    return "\n\n".join([*parts, *(f"::: {name}.{module}" for module in modules)]) + "\n"


def notebook_page(notebook: Path) -> str:
    """The cells of a notebook as a page, and where to get it."""
    text = [
        "".join(cell["source"]) if cell["cell_type"] == "markdown" else f"```python\n{''.join(cell['source'])}\n```"
        for cell in json.loads(notebook.read_text())["cells"]
    ]
    title, *others = text
    return "\n\n".join([title, f"[Download it as a notebook]({notebook.name}).", *others]) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the menu, below Reference."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference += [{section: list(made)} for section, made in pages().items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site's files."""
    files.append(File.generated(config, NOTEBOOK_PAGE, content=notebook_page(NOTEBOOK)))
    for made in pages().values():
        for path, text in made.items():
            files.append(File.generated(config, path, content=text))
    return files
