"""The commands of zoomexp: `zoomexp COMMAND ...`, or `python -m zoomexp COMMAND ...` where it is not installed."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from zoomexp.cli.command_line import reported, run_command
from zoomexp.cli.config_files import config_dir, configs, find_own_modules
from zoomexp.errors import InputError
from zoomexp.near import did_you_mean

COMMANDS = {
    "train": "train, test and record one experiment, or a sweep of them",
    "reproduce": "rebuild a paper's table: run what is missing, then reported beside measured",
    "report": "what was found, over everything that has been run: pages in one folder that can be sent",
    "runs": "list, choose, compare and export runs",
    "records": "the run records that docs/ is made of: publish, read back, check",
    "folds": "a cross-validation's runs put together: a table, and out-of-fold predictions",
    "study": "whether the default learns whatever the seed, the processor and its threads",
    "visualize": "what a run's model looks at, as pictures",
    "predict": "what is in images, named by a run's network",
    "evaluate": "test a finished run on another data set or at another size",
    "export": "a run's network as a file for other programs",
    "extract_relevance": "a teacher's relevance maps of a whole data set",
    "benchmark": "speed and memory",
    "dashboard": "a W&B workspace, and sweep files for W&B",
}
# Lightning starts the other processes of a run with this one's arguments, of which Hydra has what follows the command.
STARTED = "ZOOMEXP_COMMAND"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if os.environ.get("LOCAL_RANK") and STARTED in os.environ:
        words = [os.environ[STARTED], *words]
    command = words[0].replace("-", "_") if words else "help"
    with reported():
        if command in ("help", "__help", "_h"):
            sys.stdout.write(usage())
            return
        if command not in COMMANDS:
            meant = did_you_mean(command, COMMANDS)
            raise InputError(f"{words[0]}: no such command; allowed: {', '.join(COMMANDS)}{meant}")
    run(command, words[1:])


def usage() -> str:
    """What can be typed."""
    lines = [f"    zoomexp {name:18} {what}" for name, what in COMMANDS.items()]
    more = "zoomexp COMMAND --help says more. --config-dir FOLDER adds config groups of your own to any of them;"
    return "\n".join([*lines, "", more, "modules of your own are found in the current folder.", ""])


def run(command: str, arguments: Sequence[str] | None = None) -> None:
    """Run a command with what was typed after it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    find_own_modules()
    if command == "train":
        from zoomexp.cli.train import main as train
        from zoomexp.run.sweep_agent import with_values

        with reported():
            words = with_values(words)
        sys.argv, os.environ[STARTED] = [sys.argv[0], *words], command  # which Hydra and Lightning read
        run_command(train)
        return
    with reported():
        folder, words = config_dir(words)
        with configs(folder):
            import_module(f"zoomexp.cli.{command}").main(words)
