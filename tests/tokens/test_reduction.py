"""What a reducer is given, and that its changes are those of shorter sequences or repeated tokens."""

import pytest
import torch

from tests.tokens.hosts import Nothing, close, random_tokens, tiny_host
from zoomexp.errors import InputError
from zoomexp.tokens.host import encode


class DropLast(Nothing):
    """The last token of each image goes, in block `at`, at one of the two places."""

    def __init__(self, at, place):
        self.at, self.place = at, place

    def before(self, i, tokens):
        return shortened(tokens) if (i, "before") == (self.at, self.place) else tokens

    def between(self, i, tokens, context):
        assert context.keys.shape == (len(tokens.values), 16)
        return shortened(tokens) if (i, "between") == (self.at, self.place) else tokens


def shortened(tokens):
    last = tokens.offsets()[1:] - 1
    index = torch.tensor([i for i in range(len(tokens.values)) if i not in last.tolist()])
    return tokens.take(index, tokens.lengths - 1)


@pytest.mark.parametrize("lengths", [[5, 2, 7], [4, 4]])
def test_dropping_the_last_token_is_running_a_shorter_sequence_from_there(lengths):
    model, tokens = tiny_host(init_values=1e-6), random_tokens(torch.tensor(lengths))
    with torch.no_grad():
        before = encode(model, tokens, reduce=DropLast(1, "before"))
        between = encode(model, tokens, reduce=DropLast(1, "between"))
        for i, part in enumerate(tokens.values.split(lengths)):
            x = model.blocks[0](part[None])
            close(before.values[before.owner() == i], model.norm(model.blocks[2](model.blocks[1](x[:, :-1])))[0])
            x = model.blocks[1](x)[:, :-1]  # the dropped token was still a key
            close(between.values[between.owner() == i], model.norm(model.blocks[2](x))[0])


class Sizes(Nothing):
    def __init__(self, log_sizes):
        self.log_sizes = log_sizes


def test_a_bias_of_zero_changes_nothing_and_log_2_doubles_a_token():
    model, tokens = tiny_host(init_values=1e-6), random_tokens(torch.tensor([4, 3]))
    doubled = tokens.take(torch.tensor([0, 1, 2, 2, 3, 4, 5, 6]), torch.tensor([5, 3]))
    log_sizes = torch.zeros(7)
    with torch.no_grad():
        close(encode(model, tokens, reduce=Sizes(log_sizes)).values, encode(model, tokens).values)
        log_sizes[2] = 2.0
        log_sizes[2] = log_sizes[2].log()
        weighted = encode(model, tokens, reduce=Sizes(log_sizes)).values
        close(weighted, encode(model, doubled).values[[0, 1, 2, 4, 5, 6, 7]])


class Watch(Sizes):
    """Keeps what the context says in block 0."""

    def between(self, i, tokens, context):
        if i == 0:
            self.seen = context.keys, context.class_attention, context.values_norm
        return tokens


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_context_of_a_block(checkpointing):
    model, tokens = tiny_host(qk_norm=True), random_tokens()
    log_sizes = torch.linspace(-1, 1, len(tokens.values))
    watch = Watch(log_sizes)
    model.set_grad_checkpointing(checkpointing)
    encode(model, tokens, reduce=watch)
    attn, norm = model.blocks[0].attn, model.blocks[0].norm1
    expected = []
    for part, bias in zip(tokens.values.split(tokens.sizes), log_sizes.split(tokens.sizes), strict=True):
        q, k, v = attn.qkv(norm(part)).reshape(-1, 3, 3, 16).unbind(1)
        q, k = attn.q_norm(q), attn.k_norm(k)
        row = torch.stack([(q[0, h] @ k[:, h].T / 4 + bias).softmax(0) for h in range(3)]).mean(0)
        expected.append((k.mean(1), row, v.reshape(-1, 48).norm(dim=1)))
    for seen, parts in zip(watch.seen, zip(*expected, strict=True), strict=True):
        close(seen, torch.cat(parts))
        assert torch.autograd.grad(seen.sin().sum(), attn.qkv.weight, retain_graph=True)[0].any()


def test_a_host_without_a_class_token_has_no_class_attention():
    model = tiny_host(global_pool="avg", class_token=False)
    with pytest.raises(InputError, match=r"^reduce: the attention of the class token was asked for; .*no class token$"):
        encode(model, random_tokens(), reduce=Watch(None))
