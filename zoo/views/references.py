"""An explanation relative to each reference that it knows: one view each, chosen by radio buttons, without a script."""

from collections.abc import Sequence
from dataclasses import replace

from zoo.core.explanation import Explanation
from zoo.views.cards import boxes_for, shown_terms
from zoo.views.markup import escape
from zoo.views.pictures import unit_image
from zoo.views.row import Row


def views_of(row: Row, top: int) -> list[Row]:
    """The row relative to each reference that its explanation knows, that of the explanation first.

    Args:
        row: prepared with `top` units.
        top: number of units to show.
    """
    names = row.explanation.references
    if row.explanation.scores.shape[1] == 2:  # the margin is twice the difference to the mean
        names = tuple(name for name in names if name != "mean" or name == row.explanation.reference)
    if len(names) == 1:
        return [row]
    views = [replace(row, view=f"-{names[0]}")]
    for name in names[1:]:
        one = row.explanation.relative_to(name)
        terms, total = shown_terms(one, top)
        views.append(
            replace(
                row, explanation=one, terms=terms, total=total, boxes=boxes_for(one, terms, row.size), view=f"-{name}"
            )
        )
    return views


def shared_pictures(views: Sequence[Row]) -> str:
    """The pictures of all units of several views, each once; the views refer to them."""
    terms = {term.index: term for row in views for term in row.terms if term.unit.picture is not None}
    if len(views) == 1 or not terms:
        return ""
    images = "".join(unit_image(term.unit, views[0].picture_of(term)) for term in terms.values())
    return f"<svg class='shared' aria-hidden='true'><defs>{images}</defs></svg>"


def chooser(views: Sequence[Row]) -> str:
    """Radio buttons that choose one of several views."""
    if len(views) == 1:
        return ""
    choices = ""
    for place, row in enumerate(views):
        checked = " checked" if place == 0 else ""
        choices += (
            f"<label><input type='radio' name='relative{row.key}' value='{row.explanation.reference}'{checked}>"
            f"<span>{_name(row.explanation)}</span></label>"
        )
    return f"<fieldset class='relative'><legend>The units add up to</legend>{choices}</fieldset>"


def _name(one: Explanation) -> str:
    """A short name of what bias and contributions add up to."""
    if one.reference == "mean":
        return "the score minus the mean score of all classes"
    if one.reference == "zero" or one.runner_up is None:
        return "the score itself"
    return f"the margin over <bdi>{escape(one.domain.classes[int(one.runner_up)])}</bdi>"
