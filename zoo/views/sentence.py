"""An explanation in words: the answer, the strongest reasons for and against it, and what would change it.

Nothing is invented: every number is one of the explanation, rounded, and the same explanation gives the same sentence.
"""

from zoo.core.counterfactual import REMOVED, Counterfactual, counterfactual_of, is_answer
from zoo.core.explanation import Explanation, Term
from zoo.utils.printable import printable
from zoo.views.language import Language, read_language
from zoo.views.naming import name_of
from zoo.views.sums import decimals, fixed

MOST = 4  # units of a set that would change the answer, that are named


def sentences(explanation: Explanation, locale: str = "en", top: int = 3) -> list[str]:
    """The sentences of each row.

    Args:
        explanation: of B inputs.
        locale: see `zoo.views.language.read_language`.
        top: number of reasons on each side.

    Raises:
        FileNotFoundError, ValueError: see `read_language`; or `top` is below 1.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1; got {top}.")
    language = read_language(locale)
    return [_Sentence(one, language, top).text() for one in explanation]


def sentence(explanation: Explanation, locale: str = "en", top: int = 3) -> str:
    """The sentences of all rows, one line for each; see `sentences`."""
    return "\n".join(sentences(explanation, locale, top))


class _Sentence:
    """The sentences of one row."""

    def __init__(self, one: Explanation, language: Language, top: int) -> None:
        self.one, self.language, self.top = one, language, top
        self.terms = one.top(len(one.units))[0]
        self.target = self.quoted(one.target_names[0])
        known = one.domain.task == "classification" and one.space != "margin" and one.runner_up is not None
        self.rival = self.quoted(one.domain.classes[int(one.runner_up)]) if known and one.runner_up is not None else ""
        self.value = one.domain.task == "regression"
        self.margin = one.space == "margin"

    def text(self) -> str:
        """All of it."""
        reasons = self.selection() if self.one.contributions is None else self.reasons()
        return " ".join(part for part in (self.answer(), *reasons, *self.change()) if part)

    def quoted(self, name: str) -> str:
        return self.language.quoted(printable(name))

    def answer(self) -> str:
        """What the model answers."""
        one, say = self.one, self.language.say
        score = self.language.number(fixed(one.score.item(), decimals([one.score.item()])))
        if self.margin:
            return say("margin", target=self.target, score=score)
        if self.value:
            return say("value", target=self.target, score=score)
        share = "" if one.probability is None else self.language.share(one.probability.item())
        if one.domain.task == "multilabel":
            return say("tag_on" if self.present else "tag_off", target=self.target, share=share)
        if not is_answer(one):
            best = self.quoted(one.domain.classes[int(one.scores[0].argmax())])
            return say("asked", answer=best, target=self.target, score=score)
        return say("answer_share" if share else "answer", target=self.target, share=share)

    @property
    def present(self) -> bool:
        """Whether a tag is present."""
        return self.one.score.item() > (0.5 if self.one.space == "probability" else 0.0)

    def reasons(self) -> list[str]:
        """The strongest terms of each sign, and what the others and the bias add; they sum to the relative score."""
        one, say = self.one, self.language.say
        assert one.bias is not None
        bias, score = one.bias.item(), one.relative_score.item()
        digits = decimals([bias, score, *(term.contribution or 0.0 for term in self.terms[: self.top])])
        rounded = {term.index: round(term.contribution or 0.0, digits) + 0.0 for term in self.terms}
        up = [term for term in self.terms if rounded[term.index] > 0][: self.top]
        down = [term for term in self.terms if rounded[term.index] < 0][: self.top]
        suffix = "_value" if self.value else ""
        kind = "value" if self.value else {"mean": "mean", "runner-up": "rival"}.get(one.reference, "zero")
        words = {"target": self.target, "rival": self.rival}
        lines = [say(f"for_{kind}", units=self.listed(up, digits), **words) if up else say(f"no_for{suffix}")]
        lines += [say(f"against{suffix}", units=self.listed(down, digits)) if down else say(f"no_against{suffix}")]
        shown, start = [*up, *down], round(bias, digits) + 0.0
        rest = round(round(score, digits) - start - sum(rounded[term.index] for term in shown), digits) + 0.0
        others = sum(bool(term.contribution) for term in self.terms) - len(shown)
        if rest:
            added = self.language.number(fixed(rest, digits, "+"))
            lines.append(say("rest", count=others, sum=added) if others else say("rounding", sum=added))
        if start:
            lines.append(say("start", bias=self.language.number(fixed(start, digits))))
        return lines

    def listed(self, terms: list[Term], digits: int) -> str:
        """Units with their contributions."""
        language = self.language
        return language.listed(
            [
                language.say(
                    "reason", unit=self.named(t), number=language.number(fixed(t.contribution or 0.0, digits, "+"))
                )
                for t in terms
            ],
            self.top,
        )

    def named(self, term: Term) -> str:
        """A unit as its kind puts it, with the raw values that it reads."""
        language, kind = self.language, term.unit.kind.replace(" ", "_")
        unit = self.quoted(name_of(term, self.one))
        if kind == "concept" and "probability" in self.one.details:
            share = language.share(self.one.details["probability"][0, term.index].item())
            return language.say("kind_concept_share", unit=unit, share=share)
        if kind == "rule" and term.activation in (0.0, 1.0):
            return language.say("kind_rule_true" if term.activation else "kind_rule_false", unit=unit)
        return language.say(f"kind_{kind}" if f"kind_{kind}" in language.texts else "kind_other", unit=unit)

    def selection(self) -> list[str]:
        """The units of a model that is not additive: those it selected, or the most important ones."""
        one, language, total = self.one, self.language, len(self.terms)
        if not bool(((one.activation == 0) | (one.activation == 1)).all()):
            kept = [self.named(term) for term in self.terms if not term.unit.source.get("pruned")]
            return [language.say("ranked", units=language.listed(kept, self.top))]
        chosen = sorted((t for t in self.terms if t.activation == 1), key=lambda term: term.index)
        if not chosen:
            return [language.say("nothing_selected", total=total)]
        units = language.listed([self.named(term) for term in chosen], 2 * self.top)
        return [language.say("selected", units=units, count=len(chosen), total=total)]

    def change(self) -> list[str]:
        """What would change the answer."""
        if self.value:
            return self.without_strongest()
        found = counterfactual_of(self.one)
        if found is None:
            return []
        asked = not self.margin and self.one.domain.task == "classification" and not is_answer(self.one)
        way = "" if not found.rival else "_won" if asked else "_rival"
        rival = self.quoted(found.rival) if found.rival else self.rival
        words = {"target": self.target, "rival": rival}
        if not found.units:
            return [self.language.say(f"fixed{way}" if found.smallest else "not_found", **words)]
        edited = any(state != REMOVED for state in found.states)
        key = f"{'edited' if edited else 'removed'}{self.ending(found, asked)}"
        units = self.language.listed([self.changed(found, i, edited) for i in range(len(found.units))], MOST)
        answer = self.quoted(found.answer) if found.answer else ""
        note = f"smallest{way}" if found.smallest else "greedy"
        return [self.language.say(key, units=units, answer=answer, **words), self.language.say(note, **words)]

    def ending(self, found: Counterfactual, asked: bool) -> str:
        """Which of the texts about a change fits."""
        if self.margin:
            return "_margin"
        if self.one.domain.task == "multilabel":
            return "_tag_off" if self.present else "_tag_on"
        return "" if found.answer else "_won" if asked else "_lost"

    def changed(self, found: Counterfactual, place: int, edited: bool) -> str:
        """A unit of the set, with what it would have to be."""
        index = self.one.unit_index(found.units[place])
        term = next(term for term in self.terms if term.index == index)
        unit = self.quoted(name_of(term, self.one))
        return self.language.say(f"state_{found.states[place]}", unit=unit) if edited else unit

    def without_strongest(self) -> list[str]:
        """The value without the term that adds or takes most."""
        if self.one.contributions is None or not self.terms:
            return []
        left = self.one.without([self.terms[0].index]).item()
        unit, score = self.quoted(name_of(self.terms[0], self.one)), fixed(left, decimals([left]))
        return [self.language.say("without_value", unit=unit, score=self.language.number(score))]
