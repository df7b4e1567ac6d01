"""The path of an input through a decision tree: its prototypes in order, present or absent."""

from zoo.core.explanation import Explanation
from zoo.views.markup import escape
from zoo.views.pictures import unit_picture
from zoo.views.sums import fixed

TURN = "turn"  # the detail that defines a path: 1 for "present", -1 for "absent", 0 for nodes off the path


def path(one: Explanation) -> str:
    """The path of one explanation as a list of pictures; empty if the model is not a tree.

    Units are ordered by depth, because nodes are numbered level by level.
    """
    if TURN not in one.details:
        return ""
    steps = []
    for n, turn in enumerate(one.details[TURN][0].tolist()):
        if turn == 0:
            continue
        unit, answer = one.units[n], "present" if turn > 0 else "absent"
        drawn = unit_picture(unit, f"training patch of {unit.name}")
        steps.append(
            f"<li class='{answer}'><figure>{drawn}<figcaption><bdi>{escape(unit.name)}</bdi><br>"
            f"<b>{answer}</b> {fixed(one.activation[0, n].item(), 2)}</figcaption></figure></li>"
        )
    kept = sum(not unit.source.get("pruned") for unit in one.units)
    title = f"<h3>Path: {len(steps)} of {kept} prototypes</h3>"
    return f"{title}<ol class='path' aria-label='path through the tree'>{''.join(steps)}</ol>"
