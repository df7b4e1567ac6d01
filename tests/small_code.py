"""A domain of source code with a tokenizer made on the spot."""

from functools import cache
from itertools import islice

from zoo.data.base.tokenized import train_tokenizer
from zoo.data.synthetic.idioms import documents
from zoo.domain import CodeDomain


@cache
def tokenizer(vocabulary: int = 300) -> str:
    """The JSON text of a tokenizer of generated idioms."""
    return train_tokenizer(islice(documents("tests"), 200), vocabulary)


def code_domain(length: int = 12, vocabulary: int = 300) -> CodeDomain:
    """Prompts of at most so many tokens."""
    return CodeDomain(tokenizer=tokenizer(vocabulary), length=length)
