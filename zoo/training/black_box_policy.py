"""The black-box twin of policies: a multilayer perceptron, trained and measured as they are."""

from typing import Any

from zoo.domain import Domain
from zoo.training.acting import Acting
from zoo.training.black_box import BlackBox
from zoo.training.ppo import COEFFICIENTS, Critic
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

RECIPE = Recipe(
    stages=(Stage("train", epochs=100, train=("backbone", "head", "critic")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients=COEFFICIENTS,
)


class BlackBoxPolicy(Acting, BlackBox):
    """Backbone and linear layer over actions, trained by proximal policy optimisation.

    With `zoo.data.Control` it acts, and is validated and tested by returns; on plain rows it learns to imitate the
    actions that are the targets.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, critic.
    """

    default_recipe = RECIPE
    tasks = ("classification", "regression")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "mlp",
        clip: float = 0.2,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, backbone, 0.0, recipe)
        self.keep_arguments(locals())
        self.critic = Critic(self.domain, clip=clip)
