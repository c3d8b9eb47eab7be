"""What went wrong while a config was composed or built, in one line that names the option and what is allowed."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from zoomexp.errors import InputError
from zoomexp.near import did_you_mean


@contextlib.contextmanager
def building() -> Iterator[None]:
    """While an experiment is built every error is the user's: nothing has been written, and one line is enough."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(explain(error)) from error


def explain(error: BaseException) -> str:
    """One line that names the field and what is allowed.

    Hydra says "Could not override 'a.b'" or "Error in call to target" and hides the reason in the causes.
    """
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
    from omegaconf import DictConfig
    from omegaconf.errors import (
        ConfigAttributeError,
        ConfigKeyError,
        InterpolationKeyError,
        MissingMandatoryValue,
    )

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return flat(cause)
        if isinstance(cause, OverrideParseException):
            return f"'{cause.override}' is no option and its value; allowed: name=value, what is special in quotes"
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and not cause.options:
            allowed = _choices(cause)
            meant = did_you_mean(Path(cause.missing_cfg_file).name, allowed)
            return f"{cause.missing_cfg_file}: no such choice; allowed: {', '.join(allowed)}{meant}"
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
            allowed = [str(name) for name in cause.parent_node if not str(name).startswith("_")]
            meant = did_you_mean(str(cause.key), allowed)
            return f"{cause.full_key or cause.key}: no such option; allowed: {', '.join(allowed)}{meant}"
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key}: must be given, for example {cause.full_key}=..."
        if isinstance(cause, InterpolationKeyError) and (missing := re.search(r"key '(\S+)' not found", str(cause))):
            made = cause.full_key or "the command line"
            return f"{missing[1]}: must be given, since {made} is made of it; for example +{missing[1]}=..."
        if isinstance(cause, MissingConfigException) and cause.options:
            meant = did_you_mean(Path(cause.missing_cfg_file or "").name, cause.options)
            return f"{_without_paths(error)}{meant}"
        cause = cause.__cause__
    if isinstance(error, InstantiationException):
        return _of_target(error)
    text = _call(error) or _without_paths(error)
    if _of_hydra(error):
        text, _, key = text.partition(" full_key: ")
        text = re.sub(r"^\w+ raised while resolving interpolation: ", "", text)
        return f"{key.split()[0]}: {text}" if key else text
    return text if _call(error) else f"{type(error).__name__}: {text}"


def _without_paths(error: BaseException) -> str:
    """Hydra's message without the folders that it looked in."""
    return flat(error).split(" Config search path:")[0]


def _choices(error: BaseException) -> list[str]:
    """What stands beside the config that is missing, or beside its folder if that is missing, too."""
    folders = [Path(path) for path in re.findall(r"path=file://([^\s,)]+)", str(error))]
    group = Path(cast(Any, error).missing_cfg_file).parent
    while group.name and not any((folder / group).is_dir() for folder in folders):
        group = group.parent
    beside = sorted(path for folder in folders for path in (folder / group).glob("*") if path.name != "shared")
    return [f"{path.name}/..." if path.is_dir() else path.stem for path in beside]


def _of_target(error: BaseException) -> str:
    """What went wrong where Hydra called what a config names: led by the option, without Hydra's own words."""
    text, _, key = flat(error).partition(" full_key: ")
    if target := re.search(r"(?:locating target|callable target, got) ('.*?')(?:,| of type)", text):
        return f"{key}._target_={target[1]}: no such class or function"
    text = text if error.__cause__ is None else _call(error.__cause__) or flat(error.__cause__)
    return f"{key or 'config'}: {text}"


def _call(error: BaseException) -> str | None:
    """A call with the wrong arguments, in the words of options."""
    if missing := re.search(r"missing \d+ required [\w-]+ arguments?: (.*)", flat(error)):
        return f"{missing[1]}: must be given"
    if unknown := re.search(r"got an unexpected keyword argument ('\w+')", flat(error)):
        return f"{unknown[1]}: no such option"
    return None


def _of_hydra(error: BaseException) -> bool:
    return type(error).__module__.startswith(("hydra", "omegaconf"))


def flat(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
