"""Token methods as one runs them on a GPU: eager, in CUDA graphs, with compiled regions; each against plain DeiT-S.

Forms, the same for both sides: eager; graph, the whole forward captured (`zoomexp.tokens.captured`); compiled, the same
with its regions compiled (`zoomexp.tokens.regions`); whole, compiled by torch as a whole and captured, which takes
minutes. Every row is printed as JSON as soon as it is measured:

    ratio      how many times as fast as plain in the same form, median over rounds of neighbouring stretches
    of_ideal   ratio times share of MACs
    host_ms    until the host is free again, where the device is not waited for
    waits      how often the host waits for the device in one call, as torch's own check counts it
    error      |logits - eager logits| / |eager logits|; in bf16 near scores may select other tokens
"""

import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.options import DTYPES, check_transformer, of_variants, some_of, wholes
from zoomexp.cli.benchmarks.table import Line
from zoomexp.cli.benchmarks.tokens import built, counted, left_out, methods
from zoomexp.cli.benchmarks.waiting import host_ms, waits
from zoomexp.cli.benchmarks.zoomed import thresholds, varied_images, zooms
from zoomexp.cli.script_options import whole_numbers
from zoomexp.metrics.speed import interleaved, ratio
from zoomexp.run.build import network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building
from zoomexp.tokens.captured import Graph, captured, in_regions, ready
from zoomexp.tokens.scorers.folded import PaddedConv, pad_stem
from zoomexp.tokens.zoomvit import ZoomViT

OPTIONS = {"batch": "128,512", "limit_s": "240", "dtype": "bf16", "forms": "eager,graph,compiled", "rounds": "5",
           "parts": "zoomvit,zoomer,tokenizer,methods", "methods": "all", "depth": "12"}  # fmt: skip
FORMS = ("eager", "graph", "compiled", "whole")
PARTS = ("zoomvit", "zoomer", "tokenizer", "methods")
STATIC = ("tome", "evit", "topk", "random", "diffrate", "tofu", "pitome", "evo_vit", "cf_vit", "dynamicvit")
SETS = 3  # of images, that take turns: a threshold meets other numbers of tokens
STRETCH = 0.04  # seconds
LIMIT = {"fp32": 1e-3, "bf16": 0.1}  # of the error; above it a row says so


@dataclass
class Bench:
    """What all parts share.

    Attributes:
        plain: the transformer, on the device.
        sets: batches of images (B, C, H, H), by batch size.
        forms: of FORMS.
        dtype: its name.
        rounds: of each row.
        end: when to begin no more rows, as time.monotonic() says it.
        rows: so far.
    """

    plain: VisionTransformer
    cpu_plain: nn.Module
    sets: dict[int, list[Tensor]]
    forms: list[str]
    dtype: str
    rounds: int
    end: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.plain.parameters()).device

    @property
    def late(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self.end

    def say(self, row: dict[str, Any]) -> None:
        """Print a row now."""
        row = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
        row["at_s"] = round(time.monotonic() - self.started, 1)
        self.rows.append(row)
        print(json.dumps(row), flush=True)

    def __post_init__(self) -> None:
        self.started = time.monotonic()


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Measure the parts asked for, in their order, until the time is up; what fails is left out, and said."""
    limit_s, rounds, depth = whole_numbers(options, "limit_s", "rounds", "depth")
    batches, forms = wholes(options, "batch"), some_of(options, "forms", FORMS)
    parts, (dtype,) = some_of(options, "parts", PARTS), some_of(options, "dtype", list(DTYPES))
    known = [*methods(), "zoomvit"]
    names = [*STATIC, "spvit", "ats"] if options["methods"] == "all" else some_of(options, "methods", known)
    everywhere, own = of_variants(overrides, known, "tokens")
    given = ["backbone=deit_s", "backbone.pretrained=false", f"++backbone.depth={depth}", "attention=none"]
    end = time.monotonic() + limit_s
    with building():
        cfg = compose_run([*given, *everywhere]).cfg
        check_transformer(cfg)
        shape = {"num_classes": 1000, "in_chans": 3, "image_size": cfg.backbone.image_size}
        plain = network(cfg, shape).eval().requires_grad_(False)
    device = pick_device()
    placed = copy.deepcopy(plain).to(device, DTYPES[dtype])
    sets = {size: varied_images(size, shape["image_size"], SETS, next(placed.parameters())) for size in batches}
    bench = Bench(placed, plain, sets, forms, dtype, rounds, end)
    print(f"{cfg.backbone.name}, {depth} blocks, {shape['image_size']} pixels, {dtype}, {where(device)}", flush=True)
    work: dict[str, Callable[[Bench], None]] = {
        "zoomvit": zoomvit,
        "zoomer": zoomer,
        "tokenizer": tokenizer,
        "methods": partial(reducers, networks=_networks(given + everywhere, own, names, plain, shape)),
    }
    with torch.no_grad():
        for part in parts:
            work[part](bench)
    if bench.missing:
        print(f"limit_s={limit_s} was over before: {', '.join(bench.missing)}")
    return bench.rows


def zoomvit(bench: Bench) -> None:
    """ZoomViT with a budget and with a threshold of as many tokens on average, its Zoomer at half size in the timer."""
    for size, sets in bench.sets.items():
        fixed, free = zooms(bench.plain, sets)
        work = counted(copy.deepcopy(fixed).cpu().float(), sets[0][:1].cpu().float())
        mean = thresholds(free, sets)
        share = work.macs / counted(bench.cpu_plain, sets[0][:1].cpu().float()).macs
        for form in bench.forms:
            compare(bench, {"plain": bench.plain}, size, form, 1.0)
            named = f"zoomvit, {work.tokens[0]:.0f} tokens, "
            compare(bench, {f"{named}budget": fixed}, size, form, share)
            compare(bench, {f"{named}threshold": free}, size, form, share, tokens=mean)


def reducers(bench: Bench, networks: Callable[[], Iterator[tuple[str, nn.Module]]]) -> None:
    """The other methods, largest batch first; those of shapes that depend on values in eager mode, and only these."""
    base = counted(bench.cpu_plain, bench.sets[min(bench.sets)][0][:1].cpu().float()).macs
    found = []
    for name, net in networks():
        images = bench.sets[min(bench.sets)][0][: 1 if name in STATIC else 4].cpu().float()
        found.append((name, counted(net, images).macs / base, net.to(bench.device, DTYPES[bench.dtype])))
    for size in sorted(bench.sets, reverse=True):
        for name, share, net in found:
            for form in [form for form in bench.forms if form != "eager"] if name in STATIC else ["eager"]:
                compare(bench, {name: net}, size, form, share)


def _networks(
    given: list[str], own: dict[str, list[str]], names: Sequence[str], plain: nn.Module, shape: dict[str, int]
) -> Callable[[], Iterator[tuple[str, nn.Module]]]:
    """The methods, built one after the other."""

    def one_by_one() -> Iterator[tuple[str, nn.Module]]:
        for name in names:
            with left_out(name):
                yield name, built(compose_run([*given, f"tokens={name}", *own[name]]).cfg, plain, shape).eval()

    return one_by_one


def compare(
    bench: Bench, named: dict[str, nn.Module], size: int, form: str, share: float, tokens: float | None = None
) -> None:
    """One row: a network in a form, in turn with the plain one in the same."""
    ((name, net),) = named.items()
    label = f"{name}, batch {size}, {form}"
    if bench.late:
        bench.missing.append(label)
        return
    sets = bench.sets[size]
    with left_out(label):
        base: Any = in_form(bench.plain, sets[0], form)
        own: Any = in_form(net, sets[0], form)
        for images in sets:  # every number of slots is captured before the clock starts
            base(images), own(images)
        expected, actual = net(sets[0]).float(), own(sets[0]).float()
        error = float((actual - expected).norm() / expected.norm())
        pair: Any = {"plain": turning(base, sets)} if name != "plain" else {}
        pair[name] = turning(own, sets)
        times = interleaved(pair, bench.rounds, bench.device, least=STRETCH)
        line = Line(name, share, *ratio(next(iter(times.values())), times[name]), 1e3 * median(times[name]))
        row = {"name": name, "batch": size, "form": form, "ms": line.ms, "img_per_s": 1e3 * size / line.ms}
        row |= {"ratio": line.ratio, "least": line.least, "most": line.most, "macs": share, "of_ideal": line.of_ideal}
        row |= {
            "host_ms": host_ms(turning(own, sets), bench.device),
            "waits": waits(partial(own, sets[0])),
            "error": error,
        }
        row |= {"tokens": tokens} if tokens else {}
        row |= {"graphs": len(own.graphs)} if hasattr(own, "graphs") else {}
        row |= {} if error <= LIMIT[bench.dtype] else {"check": f"FAILED: error above {LIMIT[bench.dtype]}"}
        bench.say(row)
    if bench.device.type == "cuda":
        base = own = pair = None  # their graphs hold memory that no other can have
        torch.cuda.empty_cache()


def zoomer(bench: Bench) -> None:
    """The Zoomer alone, at half size, and with stems of other numbers of channels."""
    for size, sets in bench.sets.items():
        scores = zooms(bench.plain, sets)[0].scorer
        for form in bench.forms:
            measure_part(bench, "zoomer", scores, sets, form)
        for channels in (3, 4, 8, 16) if size == min(bench.sets) and "graph" in bench.forms else ():
            other = ready(scores)
            restem(cast(Any, other).zoomer, channels)
            measure_part(bench, f"zoomer, stem of {channels} channels", other, sets, "graph", prepared=True)


def restem(net: Any, channels: int) -> None:
    """Give a ready Zoomer a stem of other channels, of which the image fills three."""
    stem = net.features[0]
    if isinstance(stem, PaddedConv):
        conv = stem.conv
        conv.weight = nn.Parameter(conv.weight.detach()[:, : conv.in_channels - stem.missing].contiguous(), False)
        conv.in_channels -= stem.missing
        net.features[0] = conv
    pad_stem(net, channels)
    net.to(memory_format=torch.channels_last)


def tokenizer(bench: Bench) -> None:
    """From images and given scores to the encoder's tokens, and the host's time for it."""
    for sets in bench.sets.values():
        fixed = zooms(bench.plain, sets)[0]
        fixed.scorer = Given(fixed.score(sets[0]))
        for form in bench.forms:
            measure_part(bench, "tokenizer", fixed, sets, form, call=partial(_tokenized, fixed))


def _tokenized(net: ZoomViT, images: Tensor) -> Tensor:
    return net.tokenize(images).values


class Given(nn.Module):
    """A scorer that knows its scores."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.register_buffer("scores", scores)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """The same for all batches."""
        return cast(Tensor, self.scores)


def measure_part(
    bench: Bench,
    name: str,
    net: nn.Module,
    sets: list[Tensor],
    form: str,
    prepared: bool = False,
    call: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """One row of a part of a network, compared with nothing."""
    if bench.late:
        bench.missing.append(f"{name}, batch {len(sets[0])}, {form}")
        return
    with left_out(f"{name}, batch {len(sets[0])}, {form}"):
        base = call or net
        made = base if call else (net if prepared or form == "eager" else ready(net))
        run_it = made if form == "eager" else Graph(in_regions(made, form == "compiled"), [sets[0]])
        run_it(sets[0])
        expected, actual = base(sets[0]).float(), run_it(sets[0]).float()
        (times,) = interleaved({name: turning(run_it, sets)}, bench.rounds, bench.device, least=STRETCH).values()
        ms = 1e3 * median(times)
        row = {"name": name, "batch": len(sets[0]), "form": form, "ms": ms, "img_per_s": 1e3 * len(sets[0]) / ms}
        row |= {"least_ms": 1e3 * min(times), "most_ms": 1e3 * max(times)}
        row |= {"host_ms": host_ms(turning(run_it, sets), bench.device), "waits": waits(partial(run_it, sets[0]))}
        bench.say(row | {"error": float((actual - expected).norm() / expected.norm())})


def in_form(net: nn.Module, images: Tensor, form: str) -> Callable[[Tensor], Tensor]:
    """The network in one of FORMS."""
    if form == "eager":
        return net
    if form == "whole":
        made = ready(net)
        made.compile()
        return Graph(made, [images])
    return captured(net, images, compiled=form == "compiled")


def turning(call: Callable[[Tensor], Any], sets: list[Tensor]) -> Callable[[], Any]:
    """The call on one set after the other."""
    turn = itertools.cycle(sets)
    return lambda: call(next(turn))
