"""A host in training over ragged tokens: gradients, drop path by hand, dropout, checkpointing, half precision."""

import copy

import pytest
import timm
import torch

from tests.tokens.hosts import LENGTHS, Nothing, close, random_tokens, tiny_host
from zoomexp.tokens import host
from zoomexp.tokens.host import encode, read_out
from zoomexp.tokens.ragged import Ragged

HOSTS = {
    "deit": {},
    "deit3": {"init_values": 1e-6, "no_embed_class": True},
    "q/k norms": {"qk_norm": True, "scale_attn_norm": True},
    "average of all": {"global_pool": "avg", "pool_include_prefix": True},
    "norm before": {"pre_norm": True, "final_norm": False},
}


def gradients(model, tokens, **options):
    """Logits and the gradient of every parameter and of the tokens."""
    model.zero_grad()
    values = tokens.values.clone().requires_grad_()
    logits = read_out(model, encode(model, tokens.with_values(values), **options))
    (logits.sin() * torch.arange(1.0, 6, device=logits.device)).sum().backward()
    return [logits.detach(), values.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


def test_drop_path_keeps_or_drops_an_image_as_a_whole():
    model, tokens = tiny_host(depth=1).train(), random_tokens()
    block = model.blocks[0]
    block.drop_path1, block.drop_path2 = timm.layers.DropPath(0.5), timm.layers.DropPath(0.2)
    torch.manual_seed(5)
    actual = encode(model, tokens)
    torch.manual_seed(5)
    factors = [torch.empty(len(LENGTHS)).bernoulli_(keep) / keep for keep in (0.5, 0.8)]
    assert [factor.unique().tolist() for factor in factors] == [[0, 2], [0, 1.25]]
    for i, part in enumerate(tokens.values.split(tokens.sizes)):
        x = part[None]
        x = x + factors[0][i] * block.attn(block.norm1(x))
        x = x + factors[1][i] * block.mlp(block.norm2(x))
        close(actual.values[actual.owner() == i], model.norm(x)[0])


def test_drop_path_has_the_right_expected_value():
    lengths = torch.full((4000,), 2)
    lengths[0] = 1  # not all equal: the ragged path
    drop, branch = timm.layers.DropPath(0.25).train(), torch.ones(7999, 1)
    dropped = host._drop_path(drop, branch, Ragged(branch, lengths))
    close(dropped.unique(), torch.tensor([0, 4 / 3]))
    assert dropped.mean() == pytest.approx(1, abs=0.05)  # five standard deviations


def test_training_draws_are_those_of_the_padded_forward():
    model = tiny_host(drop_path_rate=0.5, proj_drop_rate=0.0).train()
    results = []
    for mode in ("ragged", "padded"):
        torch.manual_seed(6)
        results.append(encode(model, random_tokens(), mode=mode).values)
    close(*results)
    assert not torch.allclose(results[0], encode(model.eval(), random_tokens()).values, atol=1e-3)


@pytest.mark.parametrize(
    "path", ["pos_drop", "blocks.0.attn.attn_drop", "blocks.0.attn.proj_drop", "blocks.0.mlp.drop1"]
)
@pytest.mark.parametrize("reduce", [None, Nothing()], ids=["none", "reduce"])
def test_every_dropout_of_the_host_works_in_training_only(path, reduce):
    model = tiny_host()
    before = encode(model, random_tokens()).values
    model.get_submodule(path).p = 0.3
    close(encode(model, random_tokens(), reduce=reduce).values, before)
    model.train()
    one, other = (encode(model, random_tokens(), reduce=reduce).values for _ in range(2))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor([6, 6])], ids=["ragged", "equal"])
@pytest.mark.parametrize("mode", host.MODES)
def test_gradient_checkpointing_changes_nothing(mode, lengths):
    model, runs = tiny_host(drop_path_rate=0.3).train(), []
    tokens = random_tokens(lengths)
    for block in model.blocks:
        block.norm2.register_forward_hook(lambda *_: runs.append(1))
    torch.manual_seed(7)
    plain = gradients(model, tokens, mode=mode)
    assert len(runs) == 3
    model.set_grad_checkpointing(True)
    torch.manual_seed(7)
    for one, other in zip(gradients(model, tokens, mode=mode), plain, strict=True):
        close(one, other)
    assert len(runs) == 9  # forward, and again in the backward


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("mode", ["ragged", "padded"])
def test_bf16_autocast_is_close_forward_and_backward(name, mode):
    model = tiny_host(**HOSTS[name])
    exact = [x.clone() for x in gradients(model, random_tokens(), mode=mode)]
    with torch.autocast("cpu", torch.bfloat16):
        half = gradients(model, random_tokens(), mode=mode)
    for part in (slice(0, 1), slice(1, 2), slice(2, None)):  # logits; gradients of the tokens; of all parameters
        one, other = (torch.cat([x.float().flatten() for x in xs[part]]) for xs in (half, exact))
        assert (one - other).norm() < 0.1 * other.norm()


@pytest.mark.parametrize("name", HOSTS)
def test_ragged_equals_padded_forward_and_backward(name):
    model = tiny_host(**HOSTS[name])
    pairs = zip(
        gradients(model, random_tokens(), mode="ragged"), gradients(model, random_tokens(), mode="padded"), strict=True
    )
    for ragged, padded in pairs:
        close(ragged, padded, 1e-5 * max(1, float(padded.abs().max())))


def test_tokens_reach_every_parameter_of_the_blocks():
    model = tiny_host(**HOSTS["deit3"])
    gradients(model, random_tokens())
    assert all(p.grad is not None and p.grad.any() for p in model.blocks.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ragged_equals_padded_on_cuda(dtype):
    model, tokens = tiny_host(num_heads=6).cuda(), random_tokens()
    tokens = Ragged(tokens.values.cuda(), tokens.lengths)
    results = []
    for mode in ("ragged", "padded"):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            results.append(gradients(copy.deepcopy(model), tokens, mode=mode))
    for ragged, padded in zip(*results, strict=True):
        close(ragged.float(), padded.float(), (1e-4 if dtype == torch.float32 else 0.1) * float(padded.abs().max()))
