"""What the models share whose units each cast a vote: score = bias + sum over units of activation x vote."""

import torch
from torch import Tensor

from zoo.core.evidence import Evidence


class Voting:
    """Mixin, written before `SelfInterpretable`: the readout of units with a vote for every class.

        score_c = bias_c + Σ_i a_i v_ic        a: activation (B, K), v: state "votes" (B, K, C)

    A model's evidence has the votes and, if it has a bias, the state "bias" (B, C). Without a unit its activation is 0,
    and so is all that it adds.
    """

    def readout(self, evidence: Evidence) -> Tensor:
        scores = torch.einsum("bk,bkc->bc", evidence.activation, evidence.state["votes"])
        return scores + evidence.state["bias"] if "bias" in evidence.state else scores

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        votes = evidence.state["votes"]
        chosen = votes.gather(2, target[:, None, None].expand(-1, votes.shape[1], 1))[..., 0]
        contributions = evidence.activation * chosen
        if "bias" not in evidence.state:
            return contributions, contributions.new_zeros(target.shape)
        return contributions, evidence.state["bias"].gather(1, target[:, None])[:, 0]

    def slopes(self, evidence: Evidence) -> Tensor:
        return evidence.state["votes"]
