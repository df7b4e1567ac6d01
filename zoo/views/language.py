"""The texts of sentences in one language: a YAML file in `locales`, or one of the user with the same keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

from zoo.utils.errors import did_you_mean
from zoo.utils.yaml_files import ConfigLoader, read_yaml

FOLDER = Path(__file__).parent / "locales"
FIRST = "en"  # the language that says which keys there are, and which words each may have filled in
LONGEST = 2_000  # characters of a text
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Language:
    """The texts of one language.

    Attributes:
        code: such as "en"; the name of the file without its ending.
        texts: by key, see `locales/en.yaml`.
    """

    code: str
    texts: Mapping[str, str]

    def say(self, key: str, /, **words: object) -> str:
        """A text with words filled in."""
        return self.texts[key].format(**words)

    def quoted(self, name: str) -> str:
        """A name in the quotation marks of the language."""
        return self.say("quoted", name=name)

    def number(self, text: str) -> str:
        """A number that is written with a point and a hyphen, as the language writes it."""
        return text.replace("-", self.texts["minus"]).replace(".", self.texts["decimal"])

    def share(self, value: float) -> str:
        """A share in percent with one decimal."""
        return self.say("share", number=self.number(f"{100 * value:.1f}"))

    def listed(self, items: Sequence[str], most: int) -> str:
        """Items as a list in words: "a, b and c"; those after the first `most` are counted."""
        shown = list(items[:most])
        if len(items) > most:
            shown.append(self.say("more", count=len(items) - most))
        if len(shown) < 2:
            return "".join(shown)
        return f"{self.texts['comma'].join(shown[:-1])}{self.texts['last']}{shown[-1]}"


def languages() -> list[str]:
    """The languages that come with this package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_language(locale: str) -> Language:
    """The texts of a language.

    Args:
        locale: a language such as "en" or "de", or the path of a file like those in `zoo/views/locales`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such language; or the file is not valid, lacks a key, or has an unknown one.
    """
    if locale.endswith(ENDINGS):
        return _read(Path(locale))
    if locale not in languages():
        raise ValueError(
            f"no language '{locale}'; {did_you_mean(locale, languages())} Another one is a YAML file with the keys of "
            f"{FOLDER / FIRST}.yaml; give its path."
        )
    return _shipped(locale)


@cache
def _shipped(code: str) -> Language:
    return _read(FOLDER / f"{code}.yaml")


@cache
def _words() -> dict[str, set[str]]:
    """Every key, and the words that its text may have filled in."""
    texts = read_yaml(FOLDER / f"{FIRST}.yaml", ConfigLoader)
    return {key: {name for _, name, _, _ in Formatter().parse(text) if name} for key, text in texts.items()}


def _read(path: Path) -> Language:
    texts, known = read_yaml(path, ConfigLoader), _words()
    if not isinstance(texts, dict):
        raise ValueError(f"{path} must be a mapping of keys to texts, as {FOLDER / FIRST}.yaml.")
    if missing := [key for key in known if key not in texts]:
        raise ValueError(f"{path} has no '{missing[0]}' ({len(missing)} keys are missing); add it, as in {FIRST}.yaml.")
    for key, text in texts.items():
        if key not in known:
            raise ValueError(f"{path} has the key {key!r:.60}; {did_you_mean(key, known)}")
        if not isinstance(text, str) or len(text) > LONGEST:
            raise ValueError(f"{path}: '{key}' must be a text of at most {LONGEST:,} characters; got {text!r:.60}.")
        _check(text, known[key], f"{path}: '{key}'")
    return Language(path.stem, texts)


def _check(text: str, words: set[str], where: str) -> None:
    """Refuses a text that fills in anything but plain words that are known."""
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{where} is not a text with words in braces ({error}); write {{{{ for a brace.") from None
    for _, name, form, conversion in found:
        if name is not None and (name not in words or form or conversion):
            has = ", ".join(f"{{{word}}}" for word in sorted(words)) or "none"
            raise ValueError(f"{where} fills in '{{{name}}}', which is not known there; words to fill in: {has}.")
