"""Where the config files lie: beside the package in a checkout, inside it in a wheel; and in a user's own folder."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from zoomexp.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "configs" / "train.yaml").is_file() else None
CONFIGS = (CHECKOUT or PACKAGE) / "configs"
RECORDS = (CHECKOUT or Path.cwd()) / "docs" / "records"  # where a checkout publishes what its numbers are made of


@contextmanager
def configs(folder: Path | None = None) -> Iterator[None]:
    """Let runs be composed inside, from our configs and those of a user's folder.

    Args:
        folder: A folder of config groups, such as `attention/`; ours go before its own of the same name.
    """
    from hydra import initialize_config_dir
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class UsersConfigs(SearchPathPlugin):
        """Adds the user's folder to every search path that is made from now on."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            """Put it at the end."""
            search_path.append("user", f"file://{cast(Path, folder).resolve()}")

    if folder is not None:
        Plugins.instance().register(UsersConfigs)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def config_dir(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder that `--config-dir FOLDER` names, as in Hydra's own commands, and the other arguments.

    Raises:
        InputError: If it is no folder.
    """
    others = [word for argument in arguments for word in ([argument] if "=" not in argument else _parted(argument))]
    if "--config-dir" not in others:
        return None, others
    place = others.index("--config-dir")
    folder = Path(next(iter(others[place + 1 :]), ""))
    if not others[place + 1 :] or not folder.is_dir():
        raise InputError(f"--config-dir {folder}: must be a folder of config groups")
    return folder, others[:place] + others[place + 2 :]


def _parted(argument: str) -> list[str]:
    name, _, value = argument.partition("=")
    return [name, value] if name == "--config-dir" else [argument]


def find_own_modules() -> None:
    """Let `_target_` name a user's modules in the current folder, also in the processes that are started from here."""
    own = str(Path.cwd())
    if own not in sys.path:
        sys.path.append(own)
    places = [os.environ.get("PYTHONPATH", ""), str(CHECKOUT or ""), own]
    known = dict.fromkeys(place for joined in places for place in joined.split(os.pathsep) if place)
    os.environ["PYTHONPATH"] = os.pathsep.join(known)
