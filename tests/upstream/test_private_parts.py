"""The private parts of libraries that zoomexp uses, all of them, each with a test that says which one has moved.

They are used where no public way was found. A line of PARTS is: the file that uses it, the library, what must be there.
"""

import ast
import inspect
from importlib import import_module, metadata
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "zoomexp"
PARTS = [
    ("cli/command_line.py", "hydra-core", "hydra._internal.utils.get_args_parser()"),
    ("cli/reproduce.py", "hydra-core", "hydra._internal.callbacks.Callbacks()"),
    ("cli/reproduce.py", "hydra-core", "hydra._internal.utils.create_config_search_path(search_path_dir)"),
    ("cli/reproduce.py", "hydra-core", "hydra._internal.hydra.Hydra.create_main_hydra2(task_name, config_search_path)"),
    ("cli/reproduce.py", "hydra-core", "hydra._internal.hydra.Hydra.compose_config(config_name, overrides, run_mode)"),
    ("run/build.py", "omegaconf", "omegaconf.DictConfig._get_full_key(key)"),
    ("cli/wandb_sweep.py", "hydra-core",
     "hydra.core.override_parser.overrides_parser.OverridesParser.parse_overrides(overrides)"),
    ("run/overrides.py", "hydra-core", "hydra.core.override_parser.overrides_parser.OverridesParser.parse_override(s)"),
    ("callbacks/early_stopping.py", "pytorch-lightning",
     "pytorch_lightning.callbacks.EarlyStopping._validate_condition_metric(logs)"),
    ("run/out_of_memory.py", "pytorch-lightning", "pytorch_lightning.utilities.memory.is_oom_error(exception)"),
    ("callbacks/perturbation.py", "pytorch-lightning",
     "pytorch_lightning.plugins.precision.Precision.forward_context()"),
    ("callbacks/still_images.py", "pytorch-lightning",
     "pytorch_lightning.plugins.precision.Precision.forward_context()"),
    ("run/last_checkpoint.py", "pytorch-lightning", "pytorch_lightning.strategies.Strategy.checkpoint_io"),
    ("run/stopping.py", "pytorch-lightning",
     "pytorch_lightning.strategies.launchers.subprocess_script._SubprocessScriptLauncher.kill(signum)"),
    ("backbones/lv_vit.py", "timm", "timm.models.vision_transformer.VisionTransformer._init_weights(m)"),
    ("upstream/timm_filter.py", "timm", "timm.models._builder.load_pretrained(filter_fn)"),
    ("callbacks/gate_monitor.py", "torch", "torch.compiler.set_stance(stance)"),
    ("datasets/stream_loader.py", "torch", "torch.default_generator"),
]  # fmt: skip
IMPORTS = ("hydra._internal", "omegaconf._", "pytorch_lightning.utilities.memory", "torch._", "timm.models._")


def found(path: str) -> object:
    """What a dotted path names: the longest part of it that is a module, and then attributes."""
    words = path.split(".")
    for length in range(len(words), 0, -1):
        try:
            there = import_module(".".join(words[:length]))
        except ImportError:
            continue
        for word in words[length:]:
            there = getattr(there, word)
        return there
    raise ImportError(path)


@pytest.mark.parametrize(("file", "library", "part"), PARTS, ids=[part for _, _, part in PARTS])
def test_it_is_where_it_was(file, library, part):
    path, call, rest = part.partition("(")
    has_moved = f"{library} {metadata.version(library)} has moved {part}, which zoomexp/{file} uses"
    try:
        there = found(path)
    except (ImportError, AttributeError):
        pytest.fail(has_moved)
    assert path.rpartition(".")[2] in (SOURCES / file).read_text(), (
        f"zoomexp/{file} no longer uses {part}: drop it here"
    )
    if call:
        taken = inspect.signature(there).parameters
        lacking = [word for word in rest.rstrip(")").split(", ") if word and word not in taken]
        assert not lacking, f"{has_moved} with {', '.join(lacking)}"


def test_the_wandb_logger_keeps_what_it_passes_to_wandb_where_we_change_it(tmp_path):
    """run/logger.py, wandb_run.py, wandb_offline.py: WandbLogger has no public way to change what it was made with."""
    from pytorch_lightning.loggers import WandbLogger

    logger, version = WandbLogger(save_dir=tmp_path, mode="offline"), metadata.version("pytorch-lightning")
    assert "_experiment" in vars(logger), f"pytorch-lightning {version} has moved WandbLogger._experiment"
    attached = '"_attach_id"' in inspect.getsource(WandbLogger)
    assert attached, f"pytorch-lightning {version} attaches other processes to a W&B run in another way"
    kept = getattr(logger, "_wandb_init", None)
    assert isinstance(kept, dict), f"pytorch-lightning {version} has moved WandbLogger._wandb_init"
    assert kept.get("mode") == "offline", f"pytorch-lightning {version}: _wandb_init holds no mode"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "view", ["wandb_workspaces.workspaces.Workspace._to_model", "wandb_workspaces.reports.v2.Report._to_model"]
)
def test_workspaces_and_reports_have_a_specification(view):
    """cli/dashboard.py --json: wandb-workspaces has no public way to write one without a network."""
    pytest.importorskip("wandb_workspaces")
    try:
        found(view)
    except (ImportError, AttributeError):
        pytest.fail(f"wandb-workspaces {metadata.version('wandb-workspaces')} has moved {view}")


@pytest.mark.parametrize("part", ["hydra_plugins.hydra_submitit_launcher.submitit_launcher.BaseSubmititLauncher.launch",
                                  "submitit.Job.results", "submitit.SlurmJob.watcher",
                                  "submitit.slurm.slurm.SlurmInfoWatcher._make_command",
                                  "submitit.core.core.InfoWatcher.update"])  # fmt: skip
def test_submitit_is_as_it_is_mended(part):
    """upstream/submitit_repair.py."""
    submitit = pytest.importorskip("submitit")
    try:
        found(part)
    except (ImportError, AttributeError):
        pytest.fail(
            f"submitit {submitit.__version__} has moved {part}, which zoomexp/upstream/submitit_repair.py mends"
        )


def private_imports(source: str) -> set[str]:
    """`module.name` of every import from a library's private modules."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(IMPORTS):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_private_module_is_imported_that_is_not_listed():
    listed = {part.partition("(")[0] for _, _, part in PARTS}
    for path in SOURCES.rglob("*.py"):
        for name in private_imports(path.read_text()):
            known = any(part == name or part.startswith(f"{name}.") for part in listed)
            assert known or name.endswith("garbage_collection_cuda"), f"{path}: list {name} in {Path(__file__).name}"
