"""Panics of libraries written in Rust, which are not subclasses of Exception."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def panics_are_errors() -> Iterator[None]:
    """Turns a panic within the block into a ValueError.

    Raises:
        ValueError: the message of the panic.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # each library has its own, and none can be imported
            raise ValueError(f"the library failed: {error}") from error
        raise
