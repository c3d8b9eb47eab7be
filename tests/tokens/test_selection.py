"""Which candidates become tokens and in what order, against one image at a time and one rule after the other."""

import pytest
import torch

from zoomexp.tokens.cells import cell_scores, coarse_place, fine_place
from zoomexp.tokens.pruning import Pruning
from zoomexp.tokens.selection import in_sequence, keep_above, keep_best, with_budget


def random_scores(images=5, side=6, steps=7, seed=0):
    """Scores on few levels, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(steps + 1, (images, side, side), generator=generator) / steps


def plain_sequence(scores, eta, alpha, coverage):
    """(candidates, number of fine ones) of one image's map (S, S), in loops."""
    side = len(scores) if eta == 2 else len(scores) // 2
    fine, coarse = [], []
    for cell in range(side**2):
        row, column = divmod(cell, side)
        if eta == 2:
            children = [scores[row, column]] * 4
        else:
            children = [scores[2 * row + dy, 2 * column + dx] for dy in (0, 1) for dx in (0, 1)]
        whole = max(children)
        for j, child in enumerate(children):
            if child > alpha if coverage == "paper" else whole >= alpha:
                fine.append((-float(child), 4 * cell + j))
        if whole < alpha:
            coarse.append((-float(whole), 4 * side**2 + cell))
    return [candidate for _, candidate in sorted(fine) + sorted(coarse)], len(fine)


def sequences(selection):
    return [row[:n].tolist() for row, n in zip(selection.order, selection.lengths, strict=True)]


@pytest.mark.parametrize("eta", [0.5, 2])
@pytest.mark.parametrize("coverage", ["cell", "paper"])
@pytest.mark.parametrize("alpha", [0.0, 2 / 7, 0.5, 1.0])
def test_equals_the_plain_loops(eta, coverage, alpha):
    scores = random_scores()
    alpha = float(torch.tensor(alpha))  # the level itself, as scores hold it
    by_cell = cell_scores(scores, eta)
    selection = in_sequence(by_cell, keep_above(by_cell, alpha, coverage))
    expected = [plain_sequence(image, eta, alpha, coverage) for image in scores]
    assert sequences(selection) == [candidates for candidates, _ in expected]
    assert selection.zoomed.tolist() == [fine for _, fine in expected]


def test_every_order_is_a_permutation_of_the_candidates():
    by_cell = cell_scores(random_scores(), 0.5)
    order = in_sequence(by_cell, keep_above(by_cell, 0.5, "paper")).order
    assert torch.equal(order.sort(1).values, torch.arange(45).expand(5, 45))


def test_the_paper_leaves_out_ties_and_low_quarters_of_zoomed_cells():
    scores = torch.tensor([[[0.9, 0.1], [0.5, 0.6]]])
    by_cell = cell_scores(scores, 0.5)
    assert sequences(in_sequence(by_cell, keep_above(by_cell, 0.5, "paper"))) == [[0, 3]]
    assert sequences(in_sequence(by_cell, keep_above(by_cell, 0.9, "paper"))) == [[]]
    assert sequences(in_sequence(by_cell, keep_above(by_cell, 0.9, "cell"))) == [[0, 3, 2, 1]]


def test_equal_scores_keep_the_four_of_a_cell_together_and_cells_in_order():
    by_cell = cell_scores(torch.full((1, 3, 3), 0.5), 2)
    selection = in_sequence(by_cell, keep_above(by_cell, 0.5, "cell"))
    assert sequences(selection) == [list(range(36))]


@pytest.mark.parametrize("eta", [0.5, 2])
def test_a_budget_equals_the_threshold_that_separates_as_many(eta):
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(1, 6, 6, generator=generator)
    by_cell = cell_scores(one, eta)
    cells = by_cell.coarse.shape[1]
    levels = by_cell.coarse[0].sort(descending=True).values.tolist()
    for budget in range(cells + 1):
        alpha = levels[budget - 1] if budget else 1.0
        thresholded = in_sequence(by_cell, keep_above(by_cell, alpha, "cell"))
        budgeted = with_budget(in_sequence(by_cell, keep_best(by_cell, budget)), budget)
        assert sequences(budgeted) == sequences(thresholded)
        assert budgeted.lengths.tolist() == thresholded.lengths.tolist() == [cells + 3 * budget]
        assert budgeted.zoomed.tolist() == thresholded.zoomed.tolist() == [4 * budget]


def test_a_budget_takes_equal_scores_in_the_order_of_cells():
    kept = keep_best(cell_scores(torch.tensor([[[0.5, 0.9], [0.5, 0.5]]]), 2), 2)
    assert kept.coarse.tolist() == [[False, False, True, True]]


def test_places_number_the_patches_of_both_grids():
    side, candidates = 3, torch.arange(45)
    row, column = fine_place(candidates[:36], side)
    assert torch.equal(torch.stack([row, column])[:, 4 * 5 : 4 * 6], torch.tensor([[2, 2, 3, 3], [4, 5, 4, 5]]))
    assert (row * 6 + column).sort().values.tolist() == list(range(36))
    row, column = coarse_place(candidates[36:], side)
    assert (row * 3 + column).tolist() == list(range(9))


# At eta 0.5 and alpha 0.5: fine 3 2 1 0 of cell 0 (0.9 0.8 0.7 0.6), then coarse cells 3 (0.4), 1 (0.3), 2 (0.2).
MAP = torch.tensor([[[0.6, 0.7, 0.3, 0.3], [0.8, 0.9, 0.1, 0.1], [0.2, 0.2, 0.4, 0.0], [0.2, 0.2, 0.0, 0.0]]])
WHOLE = [3, 2, 1, 0, 19, 17, 18]


@pytest.mark.parametrize(
    ("group", "order", "expected", "zoomed"),
    [
        ("all", "backward", [3, 2, 1, 0, 19], 4),
        ("all", "forward", [1, 0, 19, 17, 18], 2),
        ("zoomed", "backward", [3, 2, 19, 17, 18], 2),
        ("zoomed", "forward", [1, 0, 19, 17, 18], 2),
        ("unzoomed", "backward", [3, 2, 1, 0, 19], 4),
        ("unzoomed", "forward", [3, 2, 1, 0, 18], 4),
    ],
)
def test_top_n_by_hand(group, order, expected, zoomed):
    selection, by_cell = whole()
    pruned = Pruning("top_n", 2, order=order, group=group)(selection, by_cell, "cell")
    assert sequences(pruned) == [expected]
    assert pruned.zoomed.tolist() == [zoomed]


@pytest.mark.parametrize(
    ("count", "group", "order", "expected", "zoomed"),
    [
        (0, "all", "backward", WHOLE, 4),
        (5, "all", "backward", [3, 2], 2),
        (99, "all", "backward", [3], 1),
        (99, "all", "forward", [18], 0),
        (99, "zoomed", "backward", [19, 17, 18], 0),
        (99, "unzoomed", "forward", [3, 2, 1, 0], 4),
    ],
)
def test_top_n_stops_at_the_group_and_leaves_one_token(count, group, order, expected, zoomed):
    selection, by_cell = whole()
    pruned = Pruning("top_n", count, order=order, group=group)(selection, by_cell, "cell")
    assert sequences(pruned) == [expected]
    assert pruned.zoomed.tolist() == [zoomed]


@pytest.mark.parametrize("coverage", ["cell", "paper"])
@pytest.mark.parametrize("eta", [0.5, 2])
def test_match_alpha_keeps_the_first_of_the_sequence_as_many_as_that_threshold_gives(eta, coverage):
    scores = random_scores(images=9)
    by_cell = cell_scores(scores, eta)
    low, high = 0.2, 0.6
    selection = in_sequence(by_cell, keep_above(by_cell, low, coverage))
    pruned = Pruning("match_alpha", alpha=high)(selection, by_cell, coverage)
    for image, kept in zip(scores, sequences(pruned), strict=True):
        before, _ = plain_sequence(image, eta, low, coverage)
        count = min(len(before), len(plain_sequence(image, eta, high, coverage)[0]))
        assert kept == before[:count]
    more = Pruning("match_alpha", alpha=0.0)(selection, by_cell, coverage)
    if coverage == "cell":  # a lower threshold gives more tokens: nothing goes
        assert sequences(more) == sequences(selection)


def test_no_pruning_changes_nothing():
    selection, by_cell = whole()
    assert sequences(selection) == [WHOLE]
    assert Pruning()(selection, by_cell, "cell") is selection


def whole():
    by_cell = cell_scores(MAP, 0.5)
    return in_sequence(by_cell, keep_above(by_cell, 0.5, "cell")), by_cell
