"""Seeds for a block of code, which leave the random numbers of the rest of the program as they were."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.seed import isolate_rng

NAMES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # where Lightning keeps the seed


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds Python, NumPy, PyTorch and the workers of data loaders; restores all of them at the end of the block."""
    before = {name: os.environ.get(name) for name in NAMES}
    with isolate_rng():
        seed_everything(seed, workers=True, verbose=False)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
