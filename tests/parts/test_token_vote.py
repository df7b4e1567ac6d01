"""TokenVote: its votes against the black box, its identifiability against ranks by sorting."""

import copy
from typing import Any

import pytest
import torch

from tests.small_models import IMAGES, SENTENCES, TINY_VIT, build, inputs_of, of_subwords
from zoo.domain import Domain
from zoo.networks.logit_lens import identifiability
from zoo.parts import TokenVote
from zoo.training.black_box import BlackBox
from zoo.training.distillation import copy_weights

VIT = {**TINY_VIT, "embed_dim": 8, "pool": "mean"}
TEXT = {"name": "transformer", "width": 8, "layers": 2, "heads": 2}


@torch.no_grad()
@pytest.mark.parametrize(("domain", "backbone"), [(IMAGES, VIT), (SENTENCES, TEXT)])
def test_scores_are_those_of_the_black_box(domain: Domain, backbone: dict[str, Any]) -> None:
    torch.manual_seed(0)
    black_box, model = BlackBox(domain, backbone).eval(), TokenVote(domain, backbone).eval()
    copy_weights(black_box, model)
    x = inputs_of(domain, "random")
    torch.testing.assert_close(model(x), black_box(x), rtol=1e-5, atol=1e-6)
    training = copy.deepcopy(model).train()
    for module in training.modules():
        module.training = isinstance(module, TokenVote)  # no dropout
    torch.testing.assert_close(training(x), black_box(x), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_votes_of_encoders_of_hugging_face_add_up() -> None:
    small = of_subwords("token_vote")
    told = small.model.explain(small.inputs).check()
    torch.testing.assert_close(told.scores, small.model.head(small.model.backbone(small.inputs)))
    assert not told.details and told.activation.sum(1).min() == 1


def test_identifiability_is_one_minus_the_rank() -> None:
    scores = torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 3, 6, 2])
    found = identifiability(scores, target)
    for i, t in enumerate(target):
        order = scores[i].argsort(-1, descending=True)
        rank = (order == t).float().argmax(-1)  # place of the class, from 0
        torch.testing.assert_close(found[i], 1 - rank / 7)


@torch.no_grad()
def test_the_last_state_of_the_lens_gives_the_vote() -> None:
    small = build("token_vote")
    told = small.model.explain(small.inputs, every_class=True)
    votes = 30 * told.effects + small.model.head.bias  # (B, T, C)
    assert told.details["identifiability"].shape == (5, 30, 3)
    rank = (votes > votes.gather(2, told.target[:, None, None].expand(-1, 30, 1))).float().mean(2)
    torch.testing.assert_close(told.details["identifiability"][:, :, -1], 1 - rank)


@pytest.mark.parametrize(
    ("domain", "backbone"),
    [
        (IMAGES, {**VIT, "pool": "token"}),
        (IMAGES, {**VIT, "fc_norm": True}),
        (SENTENCES, {**TEXT, "pooling": "padded"}),
    ],
)
def test_other_poolings_are_refused(domain: Domain, backbone: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a transformer that pools by the mean of normed states"):
        TokenVote(domain, backbone)
