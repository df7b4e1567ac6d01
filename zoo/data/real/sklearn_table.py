"""Tables that are part of scikit-learn: nothing is downloaded."""

from typing import Any, Literal

from zoo.data.base.frames import Frame, read_frame
from zoo.data.real.table import Table
from zoo.utils.checks import check_choice
from zoo.utils.optional import need

TARGETS = {"breast_cancer": "diagnosis", "wine": "cultivar", "diabetes": "progression"}


class SklearnTable(Table):
    """A table of scikit-learn.

    Breast cancer has 569 rows of 30 numbers, malignant or benign; wine 178 rows of 13 numbers from three cultivars;
    diabetes 442 rows of 10 numbers and the progression of the disease after a year.

    20 % of the rows of every class are the test set.

    Args:
        name: "breast_cancer", "wine" or "diabetes".
        scaling: see `Table`.
        batch_size, workers, seed, val_fraction, sampling, class_weights: see `DataModule`.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(
        self,
        name: str = "breast_cancer",
        scaling: str = "standard",
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        check_choice(TARGETS, name=name)
        super().__init__(
            name,
            TARGETS[name],
            scaling=scaling,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
            val_fraction=val_fraction,
            sampling=sampling,
            class_weights=class_weights,
        )

    def read(self, source: Any) -> Frame:
        from sklearn import datasets  # here, because the import takes most of a second

        pl = need("polars", "table")
        # diabetes in its raw units
        options = {"scaled": False} if source == "diabetes" else {}
        bunch: Any = getattr(datasets, f"load_{source}")(**options)
        columns = {name: bunch.data[:, i] for i, name in enumerate(bunch.feature_names)}
        target = bunch.target if source == "diabetes" else [str(bunch.target_names[t]) for t in bunch.target]
        return read_frame(pl.DataFrame({**columns, TARGETS[source]: target}))._replace(name=f"scikit-learn's {source}")
