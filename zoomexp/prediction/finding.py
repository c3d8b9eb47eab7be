"""The image files that an option names."""

from pathlib import Path

from zoomexp.datasets.picture import suffixes
from zoomexp.errors import InputError


def image_files(named: str, option: str = "images") -> list[Path]:
    """Folders, patterns and files, with commas between them, as files in order, each once.

    A folder stands for every image file below it; hidden ones and files of other kinds are passed over.

    Args:
        named: For example "new/", "new/*.jpg" or "a.jpg,b.png".
        option: What it was given as, for messages.

    Raises:
        InputError: There is nothing of that name, or no image in it.
    """
    found: list[Path] = []
    for name in filter(None, (word.strip() for word in named.split(","))):
        path = Path(name).expanduser()
        files = _below(path) if path.is_dir() else [path] if path.is_file() else _matching(path)
        if not files:
            missing = "has no image files" if path.is_dir() else "no such file, folder or pattern"
            raise InputError(f"{option}={name}: {missing}; images end in {', '.join(sorted(suffixes()))}")
        found += files
    if not found:
        raise InputError(f"{option}: must be given, a folder, a pattern or files with commas between them")
    return list(dict.fromkeys(found))


def _below(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes() and path.is_file())
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _matching(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor)
    return sorted(path for path in root.glob(str(pattern.relative_to(root))) if path.is_file())
