"""What every attention module must do. Modules are found by their yaml files, so a new one is tested from the start."""

import copy
import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

import zoomexp.attention

CONFIGS = Path(__file__).parents[2] / "configs" / "attention"
FOUND = {str(path.relative_to(CONFIGS).with_suffix("")): OmegaConf.load(path) for path in CONFIGS.rglob("*.yaml")}
for config in FOUND.values():
    for chosen in config.pop("defaults", None) or []:  # modules in it, and what else it chooses: no options of it
        for group, choice in chosen.items() if OmegaConf.is_dict(chosen) else ():
            if group.startswith("/attention@"):
                part = OmegaConf.load(CONFIGS / f"{choice}.yaml")
                OmegaConf.update(config, group.removeprefix("/attention@"), part, force_add=True)
MODULES = {name: cfg for name, cfg in sorted(FOUND.items()) if cfg}  # without `none`
CHANNELS = (16, 64, 320)
SIZES = ((7, 7), (8, 8), (14, 10))

every_module = pytest.mark.parametrize("make", [instantiate(cfg) for cfg in MODULES.values()], ids=list(MODULES))
every_width = pytest.mark.parametrize("channels", CHANNELS)
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


def build(make: Callable[..., nn.Module], channels: int = 16, **options: object) -> nn.Module:
    """A module away from its initial state: a gate that starts at 0 would hide everything behind it."""
    torch.manual_seed(0)
    module = make(channels, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def features(channels: int = 16, size: tuple[int, int] = (8, 8), batch: int = 2) -> Tensor:
    return 0.5 * torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def classes_in_package() -> set[type]:
    """Every attention module: a class of the package that says where its paper puts it."""
    files = [
        importlib.import_module(f"zoomexp.attention.{m.name}") for m in pkgutil.iter_modules(zoomexp.attention.__path__)
    ]
    return {c for file in files for c in vars(file).values() if inspect.isclass(c) and hasattr(c, "default_at")}


def test_every_module_has_a_yaml() -> None:
    targets = {get_class(cfg._target_) for cfg in MODULES.values()}
    assert classes_in_package() <= targets
    assert len(MODULES) >= len(classes_in_package()) >= 5


@pytest.mark.parametrize("cfg", MODULES.values(), ids=list(MODULES))
def test_yaml_names_every_keyword_with_its_default(cfg: object) -> None:
    signature = inspect.signature(get_class(cfg._target_)).parameters.values()
    keywords = {p.name: p.default for p in signature if p.kind is inspect.Parameter.KEYWORD_ONLY}
    options = {key: value for key, value in cfg.items() if key not in ("_target_", "_partial_")}
    without = {name for name, default in keywords.items() if default is inspect.Parameter.empty}
    assert options.keys() == keywords.keys()
    assert {key: value for key, value in options.items() if key not in without} == {
        key: value for key, value in keywords.items() if key not in without
    }
    assert cfg._partial_ is True


@every_module
@every_width
@every_size
def test_shape_dtype_and_map(make: Callable, channels: int, size: tuple[int, int]) -> None:
    module = build(make, channels)
    assert isinstance(getattr(module, "default_at", "last"), str)
    assert getattr(module, "map", None) is None
    x = features(channels, size)
    y, zoom = module(x), getattr(module, "zoom_factor", 1)
    assert y.shape == (2, channels, size[0] * zoom, size[1] * zoom)
    assert y.dtype == x.dtype
    assert y.isfinite().all()
    if getattr(module, "map", None) is not None:
        assert module.map.shape == (2, 1, *size)
        assert ((module.map >= 0) & (module.map <= 1)).all()


@every_module
@every_width
def test_bfloat16_autocast_and_float64(make: Callable, channels: int) -> None:
    module, x = build(make, channels), features(channels)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).isfinite().all()
        y = module(x.bfloat16())  # what a host hands over under autocast
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()
    assert module.double()(x.double()).dtype == torch.float64


@every_module
@every_width
def test_gradient_reaches_every_parameter_and_the_input(make: Callable, channels: int) -> None:
    module, x = build(make, channels), features(channels, batch=8).requires_grad_()  # one opens a hidden unit alone
    y = module(x)
    (y * torch.randn_like(y)).sum().backward()
    for name, tensor in [*module.named_parameters(), ("input", x)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@every_module
def test_samples_are_independent_in_eval_mode(make: Callable) -> None:
    module, x = build(make).eval().double(), features(batch=3).double()
    one_by_one = torch.cat([module(sample[None]) for sample in x])
    torch.testing.assert_close(module(x), one_by_one, rtol=1e-10, atol=1e-10)


@every_module
def test_state_dict_round_trip(make: Callable) -> None:
    module, x = build(make), features()
    expected = module(x)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    fresh = make(16)
    fresh.load_state_dict(torch.load(file))
    torch.testing.assert_close(fresh(x), expected, rtol=0, atol=0)


@every_module
def test_deepcopy_and_pickle_after_a_forward(make: Callable) -> None:
    module, x = build(make), features().requires_grad_()
    expected = module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for twin in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert getattr(twin, "map", None) is None
        torch.testing.assert_close(twin(x), expected, rtol=0, atol=0)
        twin(x).sum().backward()
        assert all(p.grad is None for p in module.parameters())


@every_module
def test_channels_last_gives_the_same(make: Callable) -> None:
    module, x = build(make).double(), features(16, (14, 10)).double()
    y = module(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(y, module(x), rtol=1e-10, atol=1e-10)


@every_module
def test_compiled_equals_eager_without_graph_breaks(make: Callable) -> None:
    module, x = build(make), features()
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
    compiled(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, while it imports inductor
@every_module
def test_inductor_equals_eager(make: Callable) -> None:
    module, x = build(make), features()
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(module)(x), module(x), rtol=1e-4, atol=1e-5)
