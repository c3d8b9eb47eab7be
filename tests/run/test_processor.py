"""`auto` becomes what the processor is good at, and is said once."""

import pytest
from omegaconf import OmegaConf

from zoomexp.run import processor

CPUINFO = {
    "amx": ("flags\t\t: fpu avx2 avx512_bf16 amx_bf16 amx_tile\n", "amx_bf16"),
    "avx512": ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", "avx512_bf16"),
    "avx2": ("model name\t: bf16 by name alone\nflags\t\t: fpu avx avx2 fma\n", None),
    "arm": ("Features\t: fp asimd sve bf16 i8mm\n", "bf16"),
}


@pytest.fixture(autouse=True)
def anew():
    for choice in (processor.best_precision, processor.best_compile):
        choice.cache_clear()
    yield
    for choice in (processor.best_precision, processor.best_compile):
        choice.cache_clear()


@pytest.mark.parametrize("kind", CPUINFO)
def test_instructions_are_read_from_the_flags(tmp_path, kind):
    text, expected = CPUINFO[kind]
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{text}bugs\t\t: spectre\n")
    assert processor.bf16_instructions(tmp_path / "cpuinfo") == expected
    assert processor.bf16_instructions(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("found", "compiler", "accelerator", "precision", "compiled"),
    [
        ("amx_bf16", "/usr/bin/c++", "cpu", "bf16-mixed", True), ("avx512_bf16", None, "cpu", "bf16-mixed", False),
        (None, "/usr/bin/c++", "cpu", "32-true", False), (None, "/usr/bin/c++", "gpu", "bf16-mixed", False),
    ],
)  # fmt: skip
def test_the_choice(monkeypatch, capsys, found, compiler, accelerator, precision, compiled):
    monkeypatch.setattr(processor, "bf16_instructions", lambda: found)
    monkeypatch.setattr(processor.shutil, "which", lambda name: compiler)
    cfg = OmegaConf.create({"trainer": {"precision": "auto", "accelerator": accelerator}, "compile": "auto"})
    for _ in range(2):
        settled = processor.settle(cfg)
    assert (settled.trainer.precision, settled.compile) == (precision, compiled)
    assert cfg.trainer.precision == cfg.compile == "auto"
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"trainer.precision=auto: {precision} (")
    assert second.startswith(f"compile=auto: {str(compiled).lower()} (")


def test_what_is_said_outright_stays(capsys):
    cfg = OmegaConf.create({"trainer": {"precision": "16-mixed", "accelerator": "cpu"}, "compile": False})
    assert processor.settle(cfg) is cfg and not capsys.readouterr().out


def test_a_run_is_that_of_its_choice(compose_anew, monkeypatch):
    monkeypatch.setattr(processor, "bf16_instructions", lambda: None)
    auto, typed = compose_anew("trainer.precision=auto", "compile=auto"), compose_anew("trainer.precision=32-true")
    assert auto.folder == typed.folder and auto.cfg.trainer.precision == "32-true" and auto.cfg.compile is False
    monkeypatch.setattr(processor, "bf16_instructions", lambda: "amx_bf16")
    processor.best_precision.cache_clear()
    assert compose_anew("trainer.precision=auto").folder == compose_anew("trainer.precision=bf16-mixed").folder


@pytest.fixture
def compose_anew():
    from pathlib import Path

    from hydra import initialize_config_dir

    from zoomexp.run.compose import compose_run

    def compose(*overrides):
        with initialize_config_dir(str(Path(__file__).resolve().parents[2] / "configs"), version_base="1.3"):
            return compose_run(overrides)

    return compose
