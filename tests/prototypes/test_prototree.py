"""ProtoTree: routing against an enumeration of paths, leaves by hand, and what pruning and push promise."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zoo
from tests.small_models import IMAGES, RandomImages, prototree
from tests.toy import COLOURS, ToyData, fit
from zoo.prototypes import ProtoTree
from zoo.prototypes.layers.tree import Tree
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [4], "pool": [0]}


def random_tree(depth: int, classes: int, seed: int = 0) -> Tree:
    tree = Tree(depth, classes)
    tree.leaves.copy_(torch.randn(tree.leaves.shape, generator=torch.Generator().manual_seed(seed)) * 2)
    return tree


def by_paths(tree: Tree, answers: Tensor) -> Tensor:
    """Σ over all paths of the product of their answers, and the leaf's distribution; walks from the root."""
    total = torch.zeros(len(answers), tree.leaves.shape[1])
    for turns in product((0, 1), repeat=tree.depth):
        node, weight = 0, torch.ones(len(answers))
        for turn in turns:
            weight = weight * (answers[:, node] if turn else 1 - answers[:, node])
            node = 2 * node + 1 + turn
        total += weight[:, None] * tree.leaves[node - tree.nodes].softmax(0)
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 5))
def test_scores_are_the_sum_over_all_paths(depth: int, classes: int, seed: int) -> None:
    tree = random_tree(depth, classes, seed)
    answers = torch.rand(3, tree.nodes, generator=torch.Generator().manual_seed(seed))
    arrivals = tree.arrivals(answers)
    torch.testing.assert_close(arrivals.sum(1), torch.ones(3))
    torch.testing.assert_close(arrivals @ tree.distributions(), by_paths(tree, answers))


def test_alternatives_are_the_scores_with_one_answer_changed() -> None:
    tree, target = random_tree(3, 4), torch.tensor([2, 0])
    answers = torch.rand(2, tree.nodes)
    absent, present = tree.alternatives(answers, tree.reach(answers), target)
    for n in range(tree.nodes):
        for value, found in ((0.0, absent), (1.0, present)):
            changed = answers.clone()
            changed[:, n] = value
            scores = by_paths(tree, changed).gather(1, target[:, None])[:, 0]
            torch.testing.assert_close(found[:, n], scores)


def test_leaves_learn_by_the_formula_on_a_tree_of_two() -> None:
    tree = Tree(1, 2)
    tree.leaves.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    answers, target = torch.tensor([[0.25], [0.5]]), torch.tensor([0, 1])
    left, right = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    first = 0.75 * left[0] + 0.25 * right[0]
    second = 0.5 * left[1] + 0.5 * right[1]
    expected = torch.stack(
        [
            torch.stack([0.75 * left[0] / first, 0.5 * left[1] / second]),
            torch.stack([0.25 * right[0] / first, 0.5 * right[1] / second]),
        ]
    )
    gain = tree.gain(answers, target)
    torch.testing.assert_close(gain, expected)
    before = tree.leaves.clone()
    tree.learn(gain, before / 2)
    torch.testing.assert_close(tree.leaves, before / 2 + expected)
    tree.learn(torch.zeros_like(gain), torch.full_like(gain, 100.0))
    assert tree.leaves.min() == 0


def test_pruning_cuts_dead_subtrees_and_keeps_the_rest() -> None:
    tree = Tree(2, 3)
    tree.leaves.copy_(torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 0], [0, 0, 0]]))
    assert tree.prune(0.5).tolist() == [False, True, False]  # the root's right side is cut off, so it asks nothing
    assert tree.cuts.tolist() == [-1, 0, 0]
    answers = tree.cut(torch.tensor([[0.9, 0.2, 0.7]]))
    scores = tree.arrivals(answers) @ tree.distributions()
    torch.testing.assert_close(scores, (0.8 * tree.distributions()[0] + 0.2 * tree.distributions()[1])[None])
    with pytest.raises(ValueError, match=r"no leaf has a class above tau = 1 \(the largest probability is 1\)"):
        tree.prune(0.9999)


def test_pruning_what_nothing_reaches_keeps_predictions() -> None:
    model, x = prototree().model, prototree().inputs
    model.tree.leaves[4:] = 0  # the right side of the root is uniform, and nothing looks like its prototype
    with torch.no_grad():
        model.prototypes[0] = 1e3
    before = model(x)
    model.tau = 0.34
    model.prune(ProjectionSet(RandomImages()))
    torch.testing.assert_close(model(x), before)
    assert not model.alive[0] and not model.alive[2]
    assert [bool(unit.source.get("pruned")) for unit in model.units()] == (~model.alive).tolist()


@pytest.mark.parametrize("routing", ["greedy", "max_path"])
def test_one_path_of_at_most_h_prototypes_is_the_computation(routing: str) -> None:
    small = prototree()
    soft, hard = small.model.explain(small.inputs), small.model.explain(small.inputs, routing=routing)
    assert small.model.routing == "soft"
    reach = hard.details["reach"]
    assert set(reach.unique().tolist()) <= {0.0, 1.0} and (reach.sum(1) == small.model.tree.depth).all()
    answers = soft.activation
    for row in range(len(answers)):
        if routing == "greedy":
            node = 0
            while node < small.model.tree.nodes:
                node = 2 * node + (2 if answers[row, node] >= 0.5 else 1)
            leaf = node - small.model.tree.nodes
        else:
            leaf = int(small.model.tree.arrivals(answers)[row].argmax())
        torch.testing.assert_close(hard.scores[row], small.model.tree.distributions()[leaf])
        assert f"leaf {leaf}:" in hard.statements[row]
        turns = hard.details["turn"][row]
        assert [(n, t > 0) for n, t in enumerate(turns.tolist()) if t] == small.model.tree.path(leaf)


def test_what_an_explanation_says_of_absence_is_what_an_edit_does() -> None:
    small = prototree()
    explanation = small.model.explain(small.inputs)
    with torch.no_grad():
        evidence = small.model.step(small.inputs)[1]
        for n, unit in enumerate(explanation.units):
            for name, value in (("absent", 0.0), ("present", 1.0)):
                scores = small.model.readout(small.model.edit(evidence, {unit.name: value}))
                wanted = scores.gather(1, explanation.target[:, None])[:, 0]
                torch.testing.assert_close(explanation.details[name][:, n], wanted)


def test_push_takes_the_nearest_patch_of_any_class() -> None:
    model = prototree().model
    with torch.no_grad():
        model.prototypes.copy_(torch.rand(model.prototypes.shape, generator=torch.Generator().manual_seed(5)))
    wanted, images = model.prototypes.detach().clone(), RandomImages()
    model.push(ProjectionSet(images))
    with torch.no_grad():
        patches = model.embed(images.inputs).flatten(2).mT  # (N, HW, D)
    distances = (wanted[:, None] - patches.flatten(0, 1)).square().sum(2)  # (P, N HW)
    nearest = distances.argmin(1)
    assert model.provenance.index.tolist() == (nearest // patches.shape[1]).tolist()
    assert model.provenance.cell.tolist() == (nearest % patches.shape[1]).tolist()
    torch.testing.assert_close(model.prototypes, patches.flatten(0, 1)[nearest])
    presence = model.explain(images.inputs).activation  # (N, P)
    torch.testing.assert_close(presence.amax(0), torch.ones(len(wanted)), atol=1e-5, rtol=0)


STAGES = [
    {"name": "warm", "epochs": 12, "train": ["backbone", "addon", "prototypes"]},
    {"name": "prune"},
    {"name": "push"},
    {"name": "measure", "epochs": 1, "train": []},
]


def test_it_learns_and_its_leaves_keep_their_weight() -> None:
    data = ToyData()
    options = {"backbone": TINY, "depth": 3, "dim": 8, "tau": 0.4, "thumbnail": 8}
    torch.manual_seed(0)
    model = ProtoTree(COLOURS, **options, recipe={"stages": STAGES, "lr": 0.02})
    fit(model, data)
    assert float(model.tree.leaves.sum()) == pytest.approx(len(data.train), rel=0.2)  # an image gains 1 an epoch
    model.eval()
    assert (model(data.val.inputs).argmax(1) == data.val.targets).float().mean() > 0.8
    explanation = model.explain(data.val.inputs[:4])
    assert all("leaf" in text for text in explanation.statements)


def test_errors() -> None:
    with pytest.raises(ValueError, match="routing must be one of soft, greedy, max_path; got 'hard'"):
        prototree(routing="hard")
    with pytest.raises(ValueError, match="expected 1 <= depth <= 14"):
        zoo.create_model("prototree", domain=IMAGES, backbone=TINY, depth=0)
    with pytest.raises(ValueError, match=r"a tree of depth 8 has 256 leaves, but there are \d+ training images; lower"):
        fit(ProtoTree(COLOURS, TINY, depth=8, recipe={"stages": STAGES}), ToyData())
    stages = [{"name": "joint", "epochs": 1, "train": ["addon", "prototypes"]}]
    with pytest.raises(ValueError, match=r"after its last training, add \{name: push\} and \{name: measure"):
        fit(ProtoTree(COLOURS, TINY, depth=1, recipe={"stages": stages}), ToyData())
