"""M13: does accuracy increase if concepts are set to their true values?"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case


class InterventionResponse(FaithfulnessMetric):
    """Accuracy as more and more concepts are set to their true values, compared with random values.

        gain        mean over the steps: correct with true values - correct with random values
        area        mean over the steps: correct with true values
        no harm     share of the steps that do not lower the probability of the true class

    Groups of concepts are set in random order; a random value is one of the values of the group. After Koh et al.,
    ICML 2020, section 4.3, which has no random control. For models whose units are annotated concepts.

    Args:
        seed: of orders and random values.
    """

    key, title = "M13", "intervention response"
    columns = (Column("gain", 1, 0.0), Column("area", 1, None, 1.0), Column("no harm", 1, None, 1.0))
    needs = ("concepts", "labels")

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    @torch.no_grad()
    def per_sample(self, case: Case) -> Tensor:
        model, truth = case.subject.model, case.concepts
        if truth is None or case.labels is None:
            raise ValueError(f"{self.title} needs concept labels and classes, Case(concepts=..., labels=...).")
        evidence = model.step(case.x)[1]
        columns = list(case.domain.group_columns().values())
        order = uniform(case.ids, len(columns), self.seed, "order").argsort(1)
        random = self.random_values(truth, columns, uniform(case.ids, len(columns), self.seed, "values"))
        rows = torch.arange(len(case), device=case.x.device)
        mask = torch.zeros_like(truth, dtype=torch.bool)
        correct, control, likely = [], [], []
        for step in range(len(columns) + 1):
            if step:
                for i, group in enumerate(columns):
                    mask[:, group] |= (order[:, step - 1] == i)[:, None]
            for kept, values in ((correct, truth), (control, random)):
                activation = model.annotated.values(values.nan_to_num(0.0))
                edited = model.intervene(evidence, mask & ~truth.isnan(), activation)
                scores = model.readout(edited)
                kept.append((scores.argmax(1) == case.labels).double())
                if kept is correct:
                    likely.append(scores.softmax(1)[rows, case.labels])
        gain = (torch.stack(correct) - torch.stack(control)).mean(0)
        harm = torch.stack(likely).diff(dim=0) < -1e-6
        return torch.stack([gain, torch.stack(correct).mean(0), 1 - harm.double().mean(0)], 1)

    @staticmethod
    def random_values(truth: Tensor, columns: list[list[int]], draw: Tensor) -> Tensor:
        """(B, k) a random one-hot value for each group of several concepts, a random bit for each single concept."""
        values = truth.clone()
        for i, group in enumerate(columns):
            if len(group) == 1:
                values[:, group[0]] = (draw[:, i] < 0.5).to(truth)
            else:
                chosen = (draw[:, i] * len(group)).long()
                values[:, group] = torch.nn.functional.one_hot(chosen, len(group)).to(truth)
        return values
