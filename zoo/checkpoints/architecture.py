"""The tensors that a model has, known without memory for them: the model is built on the device "meta".

A checkpoint may come from anybody. Before anything is allocated, its arguments are compared with what its files hold:
the inputs of the golden file fit the shape of the domain, and the weights have the names, shapes and types of the
model's tensors.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.checkpoints.config_file import CONFIG, GOLDEN
from zoo.checkpoints.golden import times
from zoo.checkpoints.pictures import is_picture
from zoo.checkpoints.tensor_files import Described
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.domain import Domain, ImageDomain
from zoo.utils.errors import short
from zoo.utils.panics import panics_are_errors

LARGEST_NUMBER = 2**20  # of the arguments that describe a network
CALLS, CALLS_PER_TENSOR = 5_000, 50  # of functions of torch that build a model of n tensors: at most 5,000 + 50 n
EXTRA_BYTES = 2**28  # of tensors that are not in the files: constants, and pictures that were left out


def build(entry: registry.Entry, arguments: Mapping[str, Any], where: str) -> SelfInterpretable:
    """A model with the arguments of a checkpoint and initial weights; reads no file, see `offline_arguments`.

    Args:
        entry: the model.
        arguments: of its constructor, also those of an earlier version.
        where: the file that they are from, for messages.

    Raises:
        ValueError: the model does not accept the arguments.
        ImportError: it needs an optional dependency.
    """
    with _refusals(f"{where} has arguments that {entry.name} does not accept"):
        current = entry.cls.upgrade_arguments(arguments)
        offline = entry.cls.offline_arguments(current)
        model = entry.cls(**offline)
    # Where the weights came from is kept, so that a copy of the checkpoint has the same config.
    model.hparams.update({name: value for name, value in current.items() if value != offline[name]})
    return model


def describe_model(entry: registry.Entry, arguments: Mapping[str, Any], where: str, tensors: int) -> SelfInterpretable:
    """The model on the device "meta": its tensors have names, shapes and types, and no values.

    Args:
        entry: the model.
        arguments: see `build`.
        where: the file that they are from, for messages.
        tensors: how many tensors the files have; a model with many more layers is refused while it is built.

    Raises:
        ValueError: see `build`; or the model is too large.
    """
    check_numbers(arguments, where)
    with torch.device("meta"), _AtMost(CALLS + CALLS_PER_TENSOR * tensors):
        return build(entry, arguments, where)


def check_numbers(arguments: Mapping[str, Any], where: str) -> None:
    """Refuses sizes that no network has, which would be the lengths of loops and lists.

    Raises:
        ValueError: names the argument.
    """
    for path, value in _numbers({key: value for key, value in arguments.items() if key not in ("domain", "recipe")}):
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise ValueError(f"{where}: {path} is {short(str(value))}; at most {LARGEST_NUMBER:,} is accepted.")


def read_domain(arguments: Mapping[str, Any], golden: Mapping[str, Described], folder: Path) -> Domain:
    """The domain of a checkpoint, whose shape is that of its golden inputs (or a multiple of it, for images).

    Raises:
        ValueError: the domain is not valid, or the shapes differ.
        ImportError: it needs an optional dependency.
    """
    with _refusals(f"{folder / CONFIG} has a domain that is not valid"):
        domain = Domain.from_dict(arguments["domain"])
        shape = domain.shape
    inputs = golden.get("inputs")
    if inputs is None or not inputs.shape[:1] > (0,) or not (inputs.shape[1:] == shape or _small(inputs, domain)):
        raise ValueError(
            f"{folder / GOLDEN} has no 'inputs' of shape (N, {', '.join(map(str, shape))}), which the domain in "
            f"{CONFIG} needs; found: {inputs or sorted(golden)[:8]}. Get the checkpoint again."
        )
    return domain


def _small(inputs: Described, domain: Domain) -> bool:
    """Whether golden inputs are smaller images, see `zoo.checkpoints.golden.times`."""
    return (
        isinstance(domain, ImageDomain)
        and inputs.dtype == torch.uint8
        and times(inputs.shape[1:], domain.shape) is not None
    )


def check_fit(model: SelfInterpretable, found: Mapping[str, Described], path: Path) -> None:
    """Compares the tensors of a model on "meta" with those of its files.

    Args:
        model: see `describe_model`.
        found: the tensors of the files; pictures may have been left out, see `zoo.checkpoints.pictures`.
        path: of the file, for messages.

    Raises:
        ValueError: names the tensors that differ; or the model needs much more memory than the files.
    """
    needed = model.state_dict()
    missing, extra = sorted(needed.keys() - found.keys()), sorted(found.keys() - needed.keys())
    if missing or extra:
        raise ValueError(
            f"{path} does not fit the model of its config: missing {missing[:3] or 'nothing'}, unknown "
            f"{short(str(extra[:3])) if extra else 'nothing'}."
        )
    for name, tensor in needed.items():
        if found[name][:2] != (tensor.dtype, tensor.shape) and not _left_out(name, tensor, found[name]):
            raise ValueError(
                f"{path}: '{name}' is {found[name]}; the model of the config needs {tensor.dtype} "
                f"{tuple(tensor.shape)}."
            )
    constants = [tensor for name, tensor in model.named_buffers() if name not in needed]
    more = _nbytes([*needed.values(), *constants]) - sum(one.nbytes for one in found.values())
    packed = sum(one.nbytes for one in found.values() if one.packed)
    if max(more, packed) > EXTRA_BYTES:
        raise ValueError(
            f"{path}: the model of the config needs {more:,} bytes besides the stored weights, of which {packed:,} are "
            f"packed; at most {EXTRA_BYTES:,} are accepted of each."
        )


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turns errors of any type into a ValueError, because arguments of a wrong type reach timm and transformers.

    Raises:
        ValueError: `what`, with the error.
        ImportError: as it is.
    """
    try:
        with panics_are_errors():
            yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"{what} ({type(error).__name__}: {short(str(error))}).") from error


def _left_out(name: str, tensor: Tensor, found: Described) -> bool:
    blank = found.dtype == tensor.dtype and found.shape == (*tensor.shape[:2], 0, 0)
    return blank and is_picture(name, tensor)


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _numbers(value: Any, path: str = "arguments") -> Iterator[tuple[str, int | float]]:
    """All numbers in plain data, each with the path of its keys."""
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, Mapping | list | tuple):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _numbers(inner, f"{path}.{str(key)[:40]}")


class _AtMost(TorchFunctionMode):
    """Refuses to build more than that, so that no number of layers or heads can take the time and the memory.

    Args:
        calls: of functions of torch.

    Raises:
        ValueError: there were more.
    """

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls, self.made = calls, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made += 1
        if self.made > self.calls:
            raise ValueError("a network of many more layers than the weights have")
        return func(*args, **(kwargs or {}))
