"""ProtoPool: scores and losses against plain loops, and what harden and push promise."""

import pytest
import torch

import zoo
from tests.small_models import IMAGES, RandomImages, protopool
from tests.toy import COLOURS, ToyData, fit
from zoo.prototypes import ProtoPool
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [4], "pool": [0]}


@pytest.mark.parametrize("similarity", ["log", "cosine"])
def test_scores_are_those_of_a_loop_over_slots(similarity: str) -> None:
    small = protopool(similarity=similarity)
    model, x = small.model, small.inputs
    with torch.no_grad():
        z = model.embed(x).flatten(2).double()
        vectors = model.prototypes.compared_vectors().double()
        d = (z[:, None] - vectors[:, :, None]).square().sum(2)  # (B, M, cells)
        s = 1 - d / 2 if similarity == "cosine" else torch.log((d + 1) / (d + 1e-4))
        focal = s.amax(2) - s.mean(2)
        scores = torch.zeros(len(x), 3, dtype=torch.float64)
        for c in range(3):
            for owner in range(3):
                for k in range(2):
                    weight = model.head.weight[c, owner * 2 + k].double()
                    scores[:, c] += weight * focal[:, model.slots.chosen[owner, k]]
        torch.testing.assert_close(model(x).double(), scores, rtol=1e-4, atol=1e-4)


def test_losses_are_those_of_loops() -> None:
    small = protopool()
    model, target = small.model, [0, 1, 2, 0, 1]
    with torch.no_grad():
        scores, evidence = model.step(small.inputs)
        terms = model.losses(scores, evidence, {"target": torch.tensor(target)})
        z, vectors = model.embed(small.inputs).flatten(2).double(), model.prototypes.vectors.double()
        least = (z[:, None] - vectors[:, :, None]).square().sum(2).amin(2).tolist()  # (B, M)
    chosen, weight = model.slots.chosen.tolist(), model.head.weight.tolist()
    alive = {m for slots in chosen for m in slots}
    pairs = [slots[k] == slots[j] for slots in chosen for k in range(2) for j in range(2) if j != k]
    expected = {
        "cross_entropy": -sum(scores.log_softmax(1)[i, c].item() for i, c in enumerate(target)) / 5,
        "cluster": sum(min(least[i][m] for m in chosen[c]) for i, c in enumerate(target)) / 5,
        "separation": -sum(min(least[i][m] for m in alive - set(chosen[c])) for i, c in enumerate(target)) / 5,
        "orthogonality": sum(pairs) / 6,
        "l1": sum(abs(weight[c][slot]) for c in range(3) for slot in range(6) if slot // 2 != c),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_push_takes_patches_of_users_only() -> None:
    model, images = protopool().model, RandomImages()
    with torch.no_grad():
        model.slots.affinity[:, 0, 3] += 9  # a prototype that all classes share
    model.harden(ProjectionSet(images))
    model.push(ProjectionSet(images))
    users = model.slots.users()  # (C, M)
    for m in range(6):
        owners = users[:, m].nonzero().flatten().tolist()
        if owners:
            assert int(images.targets[model.prototypes.provenance.index[m]]) in owners
    assert model.units()[3].name.count(",") == 2 and model.units()[3].target is None  # shared by all three classes
    assert torch.equal(model.prototypes.alive, users.any(0))


STAGES = [
    {"name": "warm", "epochs": 10, "train": ["backbone", "addon", "prototypes", "slots"]},
    {"name": "harden"},
    {"name": "push"},
    {"name": "last", "epochs": 2, "train": ["head"]},
]


def test_it_learns() -> None:
    torch.manual_seed(2)  # a start in which no two classes share their prototypes
    data = ToyData()
    options = {"pool": 6, "slots": 2, "dim": 8, "sharpening_epochs": 8, "thumbnail": 8}
    model = ProtoPool(COLOURS, TINY, **options, recipe={"stages": STAGES, "lr": 0.02})
    fit(model, data)
    model.eval()
    assert model.slots.sharpness == 1000
    assert (model(data.val.inputs).argmax(1) == data.val.targets).float().mean() > 0.8
    model.explain(data.val.inputs).check()


def test_errors() -> None:
    with pytest.raises(ValueError, match="expected 1 <= slots < pool"):
        zoo.create_model("protopool", domain=IMAGES, backbone=TINY, pool=4, slots=4)
    model = ProtoPool(IMAGES, TINY, pool=4, slots=2, dim=4)
    with pytest.raises(RuntimeError, match=r"the slots are mixtures of prototypes"):
        model.push(ProjectionSet(RandomImages()))
    with pytest.raises(RuntimeError, match=r"the slots are mixtures of prototypes"):
        model.explain(RandomImages(2).inputs)
    stages = [STAGES[0], STAGES[2], STAGES[3]]
    with pytest.raises(ValueError, match=r"add \{name: harden\}, before \{name: push\}"):
        fit(ProtoPool(COLOURS, TINY, pool=4, slots=2, recipe={"stages": stages}), ToyData())


def test_prototypes_stay_patches_while_addon_and_head_train() -> None:
    stages = [
        {"name": "warm", "epochs": 1, "train": ["addon", "prototypes", "slots"]},
        {"name": "harden"},
        {"name": "push"},
        {"name": "settle", "epochs": 2, "train": ["addon", "head"]},
        {"name": "push"},
        {"name": "last", "epochs": 1, "train": ["head"]},
    ]
    torch.manual_seed(0)
    model = ProtoPool(COLOURS, TINY, pool=5, slots=2, dim=4, similarity="cosine", recipe={"stages": stages, "lr": 0.05})
    fit(model, ToyData(48))
    alive = model.prototypes.alive
    assert alive.any() and model.prototypes.pushed
    assert model.prototypes.provenance.distance[alive].max() < 1e-9  # the second push found them where they were
