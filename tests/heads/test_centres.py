"""Centres of classes: loss and moves by hand, one class several times, saved, shared by processes."""

import subprocess
import sys

import pytest
import torch

from zoomexp.heads.centres import ClassCentres

VECTORS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
PROCESS = """
import sys
import torch
from zoomexp.heads.centres import ClassCentres

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(rank)
centres = ClassCentres(3, 4, 0.05)
for _ in range(3):
    images = 5 - 2 * rank  # the last batches of two processes may differ
    centres(torch.randn(images, 4), torch.randint(3, (images,)))
torch.save(centres.state_dict(), f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_the_first_batch_and_the_second():
    centres, labels = ClassCentres(4, 2, 0.5), torch.tensor([1, 3, 1])
    assert float(centres(VECTORS, labels)) == 1.0  # centres of 0, vectors of length 1
    expected = torch.tensor([[0.0, 0.0], [0.8, 0.4], [0.0, 0.0], [0.0, 0.5]])  # half of (1.6, 0.8) and of (0, 1)
    torch.testing.assert_close(centres.values, expected)
    near = torch.tensor([[0.8, 0.4], [0.0, 0.5], [0.8, 0.4]])
    near = near / near.norm(dim=1, keepdim=True)
    vectors = VECTORS.clone().requires_grad_()
    loss = centres(vectors, labels)
    torch.testing.assert_close(loss.detach(), (VECTORS - near).square().sum() / 3)
    loss.backward()
    torch.testing.assert_close(vectors.grad, 2 * (VECTORS - near) / 3)
    away = VECTORS - near
    expected[1] += 0.5 * (away[0] + away[2])
    expected[3] += 0.5 * away[1]
    torch.testing.assert_close(centres.values, expected)


def test_nothing_moves_at_rate_0():
    centres = ClassCentres(4, 2, 0)
    centres(VECTORS, torch.tensor([1, 3, 1]))
    assert not centres.values.any()


def test_they_are_saved_with_the_weights():
    centres = ClassCentres(4, 2, 0.5)
    centres(VECTORS, torch.tensor([1, 3, 1]))
    other = ClassCentres(4, 2, 0.5)
    other.load_state_dict(centres.state_dict())
    assert list(centres.state_dict()) == ["values"] and torch.equal(other.values, centres.values)


@pytest.mark.slow
def test_processes_keep_the_same_centres(tmp_path):
    """Those that one process has after the batches of both together."""
    started = [subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    whole, rng = ClassCentres(3, 4, 0.05), []
    for rank in range(2):
        torch.manual_seed(rank)
        rng.append([(torch.randn(5 - 2 * rank, 4), torch.randint(3, (5 - 2 * rank,))) for _ in range(3)])
    for one, other in zip(*rng, strict=True):
        whole(torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]]))
    for rank in range(2):
        stored = torch.load(tmp_path / f"{rank}.pt", weights_only=True)["values"]
        torch.testing.assert_close(stored, whole.values)
