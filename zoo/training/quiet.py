"""Lightning without advertisements, and without warnings that do not apply to staged training."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch")
MESSAGES = (
    ".*callbacks used to create the checkpoint need to be provided.*",
    ".*does not have many workers.*",
    ".*treespec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # what metrics have computed is of all devices
    ".*The number of training batches.*smaller than the logging interval.*",
)


def quieten() -> None:
    """Silences advertisements, and warnings that do not apply to data in memory or to staged training."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(lambda record: "Tip: For seamless" not in record.getMessage())
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the same, and all that Lightning logs below a warning, until the end of the block."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in (*MESSAGES, ".*GPU available but not used.*"):
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
