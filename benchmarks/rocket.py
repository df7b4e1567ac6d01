"""Random convolutions and a ridge classifier, a strong black box for series.

Dempster, Petitjean, Webb: "ROCKET: exceptionally fast and accurate time series classification using random
convolutional kernels", DMKD 2020, arXiv 1910.13051.
"""

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

LENGTHS = (7, 9, 11)
NUMBERS = 2**24  # of convolved series that are held at a time


class Rocket:
    """Maxima and shares of positive values of series after random convolutions, classified linearly.

    Kernels have 7, 9 or 11 weights, drawn from N(0, 1) and centred, for random subsets of the variables; biases are
    drawn from U(-1, 1), dilations 2^u with u from U(0, log2((T - 1) / (length - 1))), and half of the kernels pad.

    Differs from the published code: 5,000 kernels by default (there: 10,000); series are normalised as the data module
    does, not one by one; kernels are drawn in groups of up to 16 that share length, dilation, padding and variables.

    Args:
        kernels: number of kernels.
        seed: of the draws.
    """

    group = 16

    def __init__(self, kernels: int = 5000, seed: int = 0) -> None:
        self.kernels, self.seed = kernels, seed
        self.classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10)))

    def features(self, x: Tensor) -> np.ndarray:
        """(N, 2 kernels) of series (N, T, V)."""
        generator, found = np.random.default_rng(self.seed), []
        steps, variables = x.shape[1:]
        for start in range(0, self.kernels, self.group):
            count = min(self.group, self.kernels - start)
            length = min(int(generator.choice(LENGTHS)), steps)
            dilation = int(2 ** generator.uniform(0, np.log2(max((steps - 1) / (length - 1), 1))))
            padding = (length - 1) * dilation // 2 if generator.integers(2) else 0
            read = int(2 ** generator.uniform(0, np.log2(min(variables, length) + 1)))
            chosen = torch.from_numpy(generator.choice(variables, min(read, variables), replace=False))
            weight = generator.normal(size=(count, len(chosen), length))
            weight -= weight.mean(2, keepdims=True)
            bias = torch.from_numpy(generator.uniform(-1, 1, count)).float()
            kernel = torch.from_numpy(weight).float()
            rows = max(NUMBERS // (count * steps), 1)
            parts = [
                F.conv1d(part, kernel, bias, padding=padding, dilation=dilation)
                for part in x[..., chosen].mT.split(rows)
            ]
            found += [torch.cat([p.amax(2) for p in parts]), torch.cat([(p > 0).float().mean(2) for p in parts])]
        return torch.cat(found, 1).numpy()

    def fit(self, x: Tensor, target: Tensor) -> "Rocket":
        self.classifier.fit(self.features(x), target.numpy())
        return self

    def accuracy(self, x: Tensor, target: Tensor) -> float:
        """Share of right answers."""
        return float((self.classifier.predict(self.features(x)) == target.numpy()).mean())
