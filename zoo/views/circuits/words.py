"""A circuit's report in words: what was measured, what each control asks, and its verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.views.markup import escape

# What each control of `zoo.circuits.analysis.controls` asks, and what a warning means.
QUESTIONS = {
    "random_nodes": (
        "Would any nodes do?",
        "Circuits of as many random nodes must not solve the task.",
    ),
    "partial_ablation": (
        "Does it depend on ablating everything else?",
        "With a random half of the other nodes ablated, the answers must stay right.",
    ),
    "frozen_norms": (
        "Does it depend on the scales of its own norms?",
        "With the scales of the complete network, the answers must stay right.",
    ),
    "nonsense_task": (
        "Would the search find a circuit for a meaningless task?",
        "With randomly swapped answers it must find none.",
    ),
    "shuffled_weights": (
        "Would the search find a circuit in a meaningless network?",
        "With shuffled weights it must find none.",
    ),
}
# What happens to the places of an intervention, see `zoo.circuits.analysis.intervene.Intervention`.
INTERVENTIONS = {
    "swap": "swapped between the prompts of a pair:",
    "mean": "held at the mean:",
    "zero": "set to 0:",
    "resample": "with the values of random tokens:",
    "add": "increased:",
    "scale": "multiplied:",
}
AMOUNTS = {"add": " by {:+g}", "scale": " by {:g}"}
VERDICTS = {"pass": "\u2713 pass", "warn": "\u26a0\ufe0e warn"}


def summary(report: Mapping[str, Any]) -> str:
    """HTML: size, sufficiency and necessity in sentences, and a table of all scores."""
    whole, circuit, without = (report[name] for name in ("whole", "circuit", "without"))
    rows = "".join(
        f"<tr><th scope='row'>{name}</th>{_cells(report[key])}</tr>"
        for name, key in (
            ("complete network", "whole"),
            ("circuit only", "circuit"),
            ("network without the circuit", "without"),
            ("circuit only, prompts of the search", "train"),
        )
        if key in report
    )
    size = (
        f"{report['nodes']:,} of {report['all_nodes']:,} nodes, {report['edges']:,} of {report['all_edges']:,} "
        f"weights; {report['density']:.0%} of the {report['possible_edges']:,} possible weights between these nodes."
    )
    return (
        f"<h2>{report['nodes']:,} nodes, {report['edges']:,} edges</h2><p class='note'>{size}</p><ul class='said'>"
        f"<li><b>Sufficient?</b> With everything else held at its mean, {circuit['accuracy']:.0%} of the held-out "
        f"answers are right; the complete network has {whole['accuracy']:.0%}, and guessing 50%.</li>"
        f"<li><b>Necessary?</b> With only the circuit held at its mean, {without['accuracy']:.0%} are right.</li></ul>"
        "<div class='scroll' tabindex='0' role='region' aria-label='scores'><table class='wide'>"
        "<tr><th></th><td>loss</td><td>accuracy</td><td>of the worse answer</td></tr>"
        f"{rows}</table></div>"
    )


def _cells(scores: Mapping[str, Any]) -> str:
    return (
        f"<td>{scores['loss']:.3f}</td><td>{scores['accuracy']:.0%}</td><td>{scores['worst_loss']:.3f}, "
        f"{scores['worst_accuracy']:.0%}</td>"
    )


def controls(report: Mapping[str, Any]) -> str:
    """HTML: every control with its question, its verdict in words and colour, and the reason."""
    found = report.get("controls", {})
    if not found:
        return "<h3>Controls</h3><p class='note'>None were run, so a small circuit alone is weak evidence.</p>"
    warned = sum(control["verdict"] == "warn" for control in found.values())
    head = "all pass" if not warned else f"{warned} of {len(found)} warn"
    items = "".join(_control(name, control) for name, control in found.items())
    return f"<h3>Controls: {head}</h3><ul class='verdicts'>{items}</ul>"


def _control(name: str, control: Mapping[str, Any]) -> str:
    plain = name.replace("_", " ")
    question, wanted = QUESTIONS.get(name, (plain, ""))
    verdict = str(control["verdict"])
    return (
        f"<li class='{'pass' if verdict == 'pass' else 'warn'}'><b class='verdict'>"
        f"{escape(VERDICTS.get(verdict, verdict))}</b><div><b>{escape(question)}</b> <small>{escape(plain)}</small>"
        f"<p>{escape(wanted)} Found: {escape(control['reason'])}.</p></div></li>"
    )


def experiments(story: Sequence[Mapping[str, Any]]) -> str:
    """HTML: each sentence of a story, its experiment, and whether the outcome is the expected one; may be empty."""
    if not story:
        return ""
    right = sum(bool(outcome["passed"]) for outcome in story)
    items = "".join(_experiment(outcome) for outcome in story)
    return (
        f"<article id='story'><h3>Story: {right} of {len(story)} experiments as expected</h3>"
        "<p class='note'>Each sentence was tested by an intervention on held-out pairs. Moved: share of the logit "
        "difference that goes to the other answer. Flipped: share of the right answers that become the other one.</p>"
        f"<ul class='verdicts'>{items}</ul></article>"
    )


def _experiment(outcome: Mapping[str, Any]) -> str:
    done = "; ".join(
        f"{INTERVENTIONS.get(one['kind'], one['kind'])} "
        + ", ".join(_place(name, one["kind"], number) for name, number in one["targets"].items())
        for one in outcome["interventions"]
    )
    found = ", ".join(
        f"{escape(name.replace('_', ' '))} {outcome['measured'][name]:.2f} (expected {value:g})"
        for name, value in outcome["expect"].items()
    )
    where = "in the circuit" if outcome["within"] == "circuit" else "in the complete network"
    verdict = "\u2713 holds" if outcome["passed"] else "\u26a0\ufe0e fails"
    return (
        f"<li class='{'pass' if outcome['passed'] else 'warn'}'><b class='verdict'>{verdict}</b>"
        f"<div><b>{escape(outcome['says'])}</b><p>{where.capitalize()}, {done}: {found}.</p></div></li>"
    )


def _place(name: str, kind: str, amount: float) -> str:
    """A place, which the script turns into a link to its node."""
    shown = escape(name.replace("->", "\u2192"))
    return f"<span data-place='{escape(name)}'>{shown}</span>{AMOUNTS.get(kind, '').format(amount)}"
