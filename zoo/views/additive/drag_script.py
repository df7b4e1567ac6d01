"""The JavaScript that chooses an interval by dragging across a curve; part of `editor_script`."""

DRAG = """
  function inside(low, high, up) {  // the number of fewest decimals in [low, high), near one of the ends
    for (var digits = 0; digits < 12; digits++) {
      var power = Math.pow(10, digits), found = (up ? Math.ceil(high * power - 1) : Math.ceil(low * power)) / power;
      if (found >= low && found < high) return found;
    }
    return low;
  }
  function drag(item, svg) {
    var curve = all.curves[Number(item.dataset.curve)], axis = curve.axes[0], size = all.geometry.chart, start = null;
    var box = null;
    function entry(event) {
      var frame = svg.getBoundingClientRect(), wide = svg.viewBox.baseVal.width;
      var share = ((event.clientX - frame.left) / frame.width * wide - size.left) / size.across;
      for (var i = 0; i < axis.numbers - 1; i++) if (share < tables.span(axis, i)[1]) return i;
      return axis.numbers - 1;
    }
    function mark(a, b) {
      if (!box) {
        box = document.createElementNS(space, 'rect');
        box.setAttribute('class', 'chosen');
        box.setAttribute('y', size.top);
        box.setAttribute('height', size.plot);
        svg.appendChild(box);
      }
      var left = tables.span(axis, a)[0], right = tables.span(axis, b)[1];
      box.setAttribute('x', size.left + size.across * left);
      box.setAttribute('width', size.across * (right - left));
    }
    function fill(a, b) {
      var places = axis.places, last = axis.numbers - 1, edit = item.querySelector('.edit');
      if (axis.kind === 'points') {
        edit.querySelector('.from').value = places[a];
        edit.querySelector('.to').value = places[b];
      } else {
        var end = function (i) { return i < last ? places[i] : Infinity; };
        edit.querySelector('.from').value = a ? inside(places[a - 1], end(a), false) : '';
        edit.querySelector('.to').value = b < last ? inside(b ? places[b - 1] : -Infinity, places[b], true) : '';
      }
      var entries = [], values = current(Number(item.dataset.curve), shownClass());
      for (var i = a; i <= b; i++) entries.push(i);
      edit.querySelector('.value').value = Number(mean(curve, values, entries).toPrecision(3));
      edit.open = true;
    }
    svg.addEventListener('pointerdown', function (event) {
      start = entry(event);
      svg.setPointerCapture(event.pointerId);
      mark(start, start);
    });
    svg.addEventListener('pointermove', function (event) {
      if (start === null) return;
      var now = entry(event);
      mark(Math.min(start, now), Math.max(start, now));
    });
    svg.addEventListener('pointerup', function (event) {
      if (start === null) return;
      var now = entry(event);
      fill(Math.min(start, now), Math.max(start, now));
      start = null;
    });
    svg.addEventListener('pointercancel', function () { start = null; });
  }
"""
