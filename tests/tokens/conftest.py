"""A small host with random weights, and its forward of one image written out, for the token-reduction methods."""

import copy

import pytest
import torch
from timm.models import VisionTransformer

from tests.tokens.hosts import randomised


@pytest.fixture
def small_vit():
    """Makes a host of 4 blocks on images of 48 pixels: 36 patches."""

    def make(seed=0, kind=VisionTransformer, **options):
        sizes = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7}
        return randomised(kind(**sizes | options), seed)

    return make


@pytest.fixture
def plain():
    """Logits (K,) of one image by the equations of a ViT, with `step` between attention and MLP of each block.

    step(i, x (N, D), attention (h, N, N), keys (N, h, d), values (N, h, d), sizes (N,)) -> x, sizes, or x alone.
    before(i, x, sizes) -> x, sizes: likewise, before each block.
    """

    def forward(vit, image, step=lambda i, x, *_: (x, _[-1]), before=lambda i, *x: x):
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed(image[None])))[0]
        sizes = torch.ones(len(x))
        for i, block in enumerate(vit.blocks):
            x, sizes = before(i, x, sizes)
            attn = block.attn
            q, k, v = attn.qkv(block.norm1(x)).reshape(len(x), 3, attn.num_heads, -1).unbind(1)
            q, k = attn.q_norm(q), attn.k_norm(k)
            scores = torch.stack([q[:, h] @ k[:, h].T for h in range(attn.num_heads)]) / q.shape[2] ** 0.5
            attention = (scores + sizes.log()).softmax(2)
            mixed = torch.cat([attention[h] @ v[:, h] for h in range(attn.num_heads)], 1)
            x = x + block.ls1(attn.proj(attn.norm(mixed)))
            changed = step(i, x, attention, k, v, sizes)
            x, sizes = changed if isinstance(changed, tuple) else (changed, torch.ones(len(changed)))
            x = x + block.ls2(block.mlp(block.norm2(x)))
        x = vit.norm(x)
        if vit.global_pool == "avg":
            skipped = 0 if vit.pool_include_prefix else vit.num_prefix_tokens
            mean = (x * sizes[:, None])[skipped:].sum(0) / sizes[skipped:].sum()
            x = mean.expand(skipped + 1, -1)  # its own mean after the prefix
        return vit.forward_head(x[None])[0]

    return forward


@pytest.fixture
def six_images():
    return torch.randn(6, 3, 48, 48, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def own_losses():
    """The values of a method's own loss over 60 steps of training by it alone."""

    def train(net, images):
        optimizer = torch.optim.Adam(net.method.parameters(), 0.01)
        losses = []
        for _ in range(60):
            net(images)
            losses.append(net.auxiliary_loss.item())
            optimizer.zero_grad()
            net.auxiliary_loss.backward()
            optimizer.step()
        return losses

    return train


@pytest.fixture
def bf16_and_copies(six_images):
    """A network's copy gives the same logits, and bf16 logits near them: autocast, and the network's own."""

    def check(net):
        with torch.no_grad():
            exact = net(six_images)
            assert torch.equal(copy.deepcopy(net)(six_images), exact)
            with torch.autocast("cpu", torch.bfloat16):
                autocast = net(six_images)
            for half in (autocast, net.bfloat16()(six_images.bfloat16())):
                assert half.dtype == torch.bfloat16
                # other tokens may be taken where scores are close; on these images logits stay near
                assert (half.float() - exact).norm() < 0.25 * exact.norm()

    return check
