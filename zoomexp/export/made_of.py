"""What an exported network is made of, so that it can be built again without the run's folder."""

from pathlib import Path
from typing import Any

from torch import nn

from zoomexp.results.identity import chosen_name, renamed
from zoomexp.results.stored import finished_facts, read_config
from zoomexp.run.stored_run import NO_WEIGHTS, restored

FURTHER = ("tokens", "detector", "decoder", "head")  # groups that change how a host gets its tokens, or what it says


def parts_of(run: Path, net: nn.Module) -> dict[str, Any]:
    """The parts of a run's network; of a network that has gone on from another run's, those of that one, too.

    Args:
        run: The folder of a finished run.
        net: Its network, as `restored` gives it.

    Returns:
        Plain containers; options name what they are of by `_target_`, which builds what `build_model` takes:
        "architecture": the host's name, timm's where it is timm's.
        "host": its options, without weights.
        "modules": what is inserted, in the order of insertion; each with "name", "options", "at" (what was asked for)
            and "sites" (the module paths of the host after which one stands).
        And one of each of FURTHER that there is, its options.
    """
    config, choices = renamed(read_config(run)), finished_facts(run, "run")["choices"]
    if choices.get("backbone") == "trained":
        before = Path(config["backbone"]["run"])
        inner = restored(before)
        parts, known = parts_of(before, inner), len(inner.insertion_sites)
    else:
        host = config["backbone"]
        host |= {name: value for name, value in NO_WEIGHTS.items() if name in host}
        name = host.get("name") or choices.get("backbone")
        parts, known = {"architecture": name, "host": host, "modules": []}, 0
    sites: Any = net.insertion_sites
    if len(sites) > known:
        name, at = chosen_name("attention", config, choices), config["insertion"]["at"]
        parts["modules"].append({"name": name, "options": config["attention"], "at": at, "sites": sites[known:]})
    return parts | {group: config[group] for group in FURTHER if config.get(group)}


def told(parts: dict[str, Any]) -> str:
    """The parts in a few words.

    >>> told({"architecture": "resnet20", "modules": [{"name": "cbam", "sites": ["layer1", "layer2"]}]})
    'resnet20 with cbam after layer1, layer2'
    """
    modules = [f"{one['name']} after {', '.join(one['sites'])}" for one in parts["modules"]]
    return f"{parts['architecture']} " + (f"with {' and '.join(modules)}" if modules else "without a module")
