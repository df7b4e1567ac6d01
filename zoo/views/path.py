"""The path that an input takes through a decision tree: its prototypes in order, present or absent."""

from html import escape

from zoo.core.explanation import Explanation
from zoo.views.pictures import data_uri, framed, image_element
from zoo.views.sums import fixed

TURN = "turn"  # the detail that makes a path: 1 where the input turns to "present", -1 to "absent", 0 off the path


def path(one: Explanation) -> str:
    """The path of one explanation as a list of pictures; empty if it has none.

    Units are in the order of their depth, as nodes of a tree that is numbered level by level.
    """
    if TURN not in one.details:
        return ""
    steps = []
    for n, turn in enumerate(one.details[TURN][0].tolist()):
        if turn == 0:
            continue
        unit, answer = one.units[n], "present" if turn > 0 else "absent"
        drawn = ""
        if unit.picture is not None:
            height, width = unit.picture.shape[1:]
            view = unit.source.get("region") or [0, 0, height, width]
            image = image_element(data_uri(unit.picture), (view[2] - view[0], view[3] - view[1]))
            moved = f"<g transform='translate({view[1]} {view[0]})'>{image}</g>"
            drawn = framed(moved, view, unit.source.get("box"), escape(f"the training patch behind {unit.name}"))
        steps.append(
            f"<li class='{answer}'><figure>{drawn}<figcaption><bdi>{escape(unit.name)}</bdi><br>"
            f"<b>{answer}</b> {fixed(one.activation[0, n].item(), 2)}</figcaption></figure></li>"
        )
    title = f"<h3>Path: {len(steps)} of {len(one.units)} prototypes</h3>"
    return f"{title}<ol class='path' aria-label='path through the tree'>{''.join(steps)}</ol>"
