"""The script of pages of restored pictures: filters again with other widths, in the arithmetic of the model."""

RESTORATION = """
(function () {
  'use strict';
  function numbers(text) {
    var raw = atob(text), bytes = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return Float64Array.from(new Float32Array(bytes.buffer));
  }
  function clamp(value, most) { return value < 0 ? 0 : value > most ? most : value; }
  function live(section) {
    var data = JSON.parse(section.querySelector('script[type="application/json"]').textContent);
    var C = data.shape[0], H = data.shape[1], W = data.shape[2], size = H * W, R = data.radius, P = data.patch;
    var rows = Math.ceil(H / P), columns = Math.ceil(W / P), patches = rows * columns;
    var picture = numbers(data.picture), model = numbers(data.restored), start = numbers(data.widths);
    var widths = start.slice(), factor = new Float64Array(start.length).fill(0), guides = [], restored = model;
    var chosen = new Uint8Array(patches), cursor = data.target % size, patch = 0, painting = null;
    function width(stage, kind, y, x) {
      var at = (stage * 3 + kind) * patches + Math.floor(y / P) * columns + Math.floor(x / P);
      return Math.max(widths[at], 1e-3);
    }
    function taper(d) { return 1 - d * d / ((R + 1) * (R + 1)); }
    function filter(guide, stage) {
      var out = new Float64Array(C * size), total = new Float64Array(size);
      var match = data.match[stage], around = (match - 1) / 2;
      var high = H + 2 * around, wide = W + 2 * around, apart = new Float64Array(high * wide);
      var narrow = [0, 1, 2].map(function (kind) {
        var half = new Float64Array(size);
        for (var y = 0; y < H; y++) for (var x = 0; x < W; x++) {
          var s = width(stage, kind, y, x); half[y * W + x] = 0.5 / (s * s);
        }
        return half;
      });
      for (var dy = -R; dy <= R; dy++) for (var dx = -R; dx <= R; dx++) {
        apart.fill(0);
        for (var c = 0; c < C; c++) for (var v = 0; v < high; v++) {
          var own = clamp(v - around, H - 1), far = clamp(clamp2(v + dy, high, around, H), H - 1);
          for (var u = 0; u < wide; u++) {
            var a = guide[c * size + own * W + clamp(u - around, W - 1)];
            var b = guide[c * size + far * W + clamp(clamp2(u + dx, wide, around, W), W - 1)];
            apart[v * wide + u] += (a - b) * (a - b);
          }
        }
        var t = taper(dy) * taper(dx), count = C * match * match;
        for (var y = Math.max(0, -dy); y < Math.min(H, H - dy); y++)
          for (var x = Math.max(0, -dx); x < Math.min(W, W - dx); x++) {
            var sum = 0, p = y * W + x, q = p + dy * W + dx;
            for (var i = 0; i < match; i++) for (var j = 0; j < match; j++)
              sum += apart[(y + i) * wide + x + j];
            var w = t * Math.exp(-dy * dy * narrow[0][p] - dx * dx * narrow[1][p] - sum / count * narrow[2][p]);
            total[p] += w;
            for (var k = 0; k < C; k++) out[k * size + p] += w * guide[k * size + q];
          }
      }
      for (var m = 0; m < C * size; m++) out[m] /= total[m % size];
      return out;
    }
    // A row of the padded grid moved by dy: beyond its end the last row goes on, as the model pads twice.
    function clamp2(moved, length, margin, side) { return clamp(moved, length - 1) - margin; }
    function weightsAt(stage, y, x) {
      var guide = guides[stage], found = new Map(), total = 0, match = data.match[stage], around = (match - 1) / 2;
      for (var dy = -R; dy <= R; dy++) for (var dx = -R; dx <= R; dx++) {
        if (y + dy < 0 || y + dy >= H || x + dx < 0 || x + dx >= W) continue;
        var sum = 0;
        for (var i = -around; i <= around; i++) for (var j = -around; j <= around; j++) {
          var v = clamp(y + i, H - 1), u = clamp(x + j, W - 1);
          var fv = clamp(clamp2(y + i + around + dy, H + 2 * around, around, H), H - 1);
          var fu = clamp(clamp2(x + j + around + dx, W + 2 * around, around, W), W - 1);
          for (var c = 0; c < C; c++) {
            var d = guide[c * size + v * W + u] - guide[c * size + fv * W + fu]; sum += d * d;
          }
        }
        var s = [0, 1, 2].map(function (kind) { var v = width(stage, kind, y, x); return 0.5 / (v * v); });
        var power = -dy * dy * s[0] - dx * dx * s[1] - sum / (C * match * match) * s[2];
        var w = taper(dy) * taper(dx) * Math.exp(power);
        found.set((y + dy) * W + x + dx, w); total += w;
      }
      found.forEach(function (w, q) { found.set(q, w / total); });
      return found;
    }
    function combined(p) {
      var here = new Map([[p, 1]]);
      for (var stage = data.stages - 1; stage >= 0; stage--) {
        var next = new Map();
        here.forEach(function (weight, q) {
          weightsAt(stage, Math.floor(q / W), q % W).forEach(function (w, r) {
            next.set(r, (next.get(r) || 0) + weight * w);
          });
        });
        here = next;
      }
      return here;
    }
    function run() {
      guides = []; restored = picture;
      for (var stage = 0; stage < data.stages; stage++) { guides.push(restored); restored = filter(restored, stage); }
    }
    function canvas(name, high, wide) {
      var image = section.querySelector('.' + name + ' img'), made = document.createElement('canvas');
      made.width = wide; made.height = high; made.tabIndex = 0; made.setAttribute('role', 'img');
      made.setAttribute('aria-label', image.alt); image.replaceWith(made);
      return made;
    }
    function paint(where, value, high, wide) {
      var context = where.getContext('2d'), image = context.createImageData(wide, high);
      for (var p = 0; p < high * wide; p++) {
        var colour = value(p);
        for (var c = 0; c < 3; c++) image.data[4 * p + c] = Math.round(clamp(colour[c] * 255, 255));
        image.data[4 * p + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    }
    function grey(values, scale, middle) {
      return function (p) {
        return [0, 1, 2].map(function (c) { return middle + scale * values[(C === 3 ? c : 0) * size + p]; });
      };
    }
    var map = document.createElement('figure');
    map.className = 'map';
    map.innerHTML = '<img alt="widths of the patches"><figcaption></figcaption>';
    section.querySelector('.restored').appendChild(map);
    var clean = canvas('clean', H, W), removed = canvas('removed', H, W), shown = canvas('map', H, W);
    var kind = section.querySelector('select'), slider = section.querySelector('input[type=range]');
    var all = section.querySelector('.all'), output = section.querySelector('output');
    function draw() {
      var k = Number(kind.value), own = widths.slice(k * patches, (k + 1) * patches), gone = new Float64Array(C * size);
      var low = Math.min.apply(null, own), high = Math.max.apply(null, own);
      for (var i = 0; i < gone.length; i++) gone[i] = picture[i] - restored[i];
      paint(clean, grey(restored, 1, 0), H, W);
      paint(removed, grey(gone, data.stronger, 0.5), H, W);
      paint(shown, function (p) {
        var at = Math.floor(Math.floor(p / W) / P) * columns + Math.floor(p % W / P);
        var level = high > 1.001 * low ? (own[at] - low) / (high - low) : 0.5;
        var edge = p % W % P === 0 || Math.floor(p / W) % P === 0;
        if (edge && (chosen[at] || at === patch && document.activeElement === shown)) return [1, 0.83, 0];
        return [0.1 + 0.85 * level, 0.25 + 0.6 * level, 0.5 + 0.1 * level];
      }, H, W);
      map.querySelector('figcaption').textContent = kind.selectedOptions[0].text + ' width, ' + low.toPrecision(3) +
        ' (dark) to ' + high.toPrecision(3) + ' (light)';
      var context = clean.getContext('2d');
      context.strokeStyle = '#ffd400'; context.lineWidth = 0.6;
      context.strokeRect(cursor % W - 0.3, Math.floor(cursor / W) - 0.3, 1.6, 1.6);
    }
    function inspect() {
      var value = Math.floor(data.target / size), here = combined(cursor), y = Math.floor(cursor / W), x = cursor % W;
      var base = value * size, own = picture[base + cursor], parts = [];
      here.forEach(function (w, q) {
        if (q !== cursor) parts.push([q, w, w * (picture[base + q] - own)]);
      });
      parts.sort(function (a, b) { return Math.abs(b[2]) - Math.abs(a[2]); });
      var pulled = parts.reduce(function (sum, part) { return sum + part[2]; }, 0);
      var table = document.createElement('table'), caption = document.createElement('caption');
      caption.textContent = 'row ' + (y + 1) + ', column ' + (x + 1) + ': ' + own.toFixed(4) + ' noisy ' +
        (pulled < 0 ? '\\u2212 ' : '+ ') + Math.abs(pulled).toFixed(4) + ' pulled by ' + parts.length +
        ' neighbours = ' + (own + pulled).toFixed(4) + '; own weight ' + (here.get(cursor) || 0).toFixed(3);
      table.appendChild(caption);
      parts.slice(0, 5).forEach(function (part) {
        var line = document.createElement('tr'), dy = Math.floor(part[0] / W) - y, dx = part[0] % W - x;
        var down = dy ? Math.abs(dy) + (dy < 0 ? ' up' : ' down') : '';
        var right = dx ? Math.abs(dx) + (dx < 0 ? ' left' : ' right') : '';
        var name = [down, right].filter(Boolean).join(', ');
        [name, 'weight ' + part[1].toFixed(4), 'value ' + picture[base + part[0]].toFixed(4),
          'pulls ' + (part[2] < 0 ? '\\u2212' : '+') + Math.abs(part[2]).toFixed(4)].forEach(function (text, i) {
          var cell = document.createElement(i ? 'td' : 'th'); cell.textContent = text; line.appendChild(cell);
        });
        table.appendChild(line);
      });
      section.querySelector('.pixel').replaceChildren(table);
    }
    function show() {
      run(); draw(); inspect();
      var worst = 0, edited = widths.some(function (w, i) { return w !== start[i]; });
      for (var i = 0; i < restored.length; i++) worst = Math.max(worst, Math.abs(restored[i] - model[i]));
      section.querySelector('.said').textContent = edited ?
        'Filtered with your widths: pixels differ from the model\\u2019s by up to ' + worst.toFixed(4) + '.' :
        'Filtered on this page: equal to the model\\u2019s answer within ' + worst.toExponential(1) + '.';
      section.dataset.worst = worst;
    }
    function apply() {
      var k = Number(kind.value);
      for (var i = 0; i < patches; i++) if (all.checked || chosen[i]) factor[k * patches + i] = Number(slider.value);
      for (var j = 0; j < widths.length; j++) widths[j] = factor[j] ? start[j] * Math.pow(2, factor[j]) : start[j];
      output.textContent = Math.pow(2, Number(slider.value)).toFixed(2);
      show();
    }
    function place(event, where) {
      var box = where.getBoundingClientRect();
      return [clamp(Math.floor((event.clientY - box.top) / box.height * H), H - 1),
        clamp(Math.floor((event.clientX - box.left) / box.width * W), W - 1)];
    }
    function moved(event) {
      return { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    }
    clean.addEventListener('click', function (event) {
      var at = place(event, clean); cursor = at[0] * W + at[1]; draw(); inspect();
    });
    clean.addEventListener('keydown', function (event) {
      var by = moved(event);
      if (!by) return;
      event.preventDefault();
      cursor = clamp(Math.floor(cursor / W) + by[0], H - 1) * W + clamp(cursor % W + by[1], W - 1);
      draw(); inspect();
    });
    function brush(event) {
      var at = place(event, shown); patch = Math.floor(at[0] / P) * columns + Math.floor(at[1] / P);
      if (painting === null) painting = chosen[patch] ? 0 : 1;
      chosen[patch] = painting; all.checked = !chosen.some(Boolean); draw();
    }
    shown.addEventListener('pointerdown', function (event) { painting = null; brush(event); });
    shown.addEventListener('pointermove', function (event) { if (event.buttons) brush(event); });
    shown.addEventListener('keydown', function (event) {
      var by = moved(event);
      if (by) patch = clamp(Math.floor(patch / columns) + by[0], rows - 1) * columns +
        clamp(patch % columns + by[1], columns - 1);
      else if (event.key === ' ') { chosen[patch] = chosen[patch] ? 0 : 1; all.checked = !chosen.some(Boolean); }
      else return;
      event.preventDefault(); draw();
    });
    shown.addEventListener('focus', draw);
    shown.addEventListener('blur', draw);
    slider.addEventListener('change', apply);
    slider.addEventListener('input', function () {
      output.textContent = Math.pow(2, Number(slider.value)).toFixed(2);
    });
    kind.addEventListener('change', draw);
    section.querySelector('button').addEventListener('click', function () {
      widths = start.slice(); factor.fill(0); chosen.fill(0); all.checked = true; slider.value = 0;
      output.textContent = '1.00'; show();
    });
    section.restoration = {
      set: function (index, value) { widths[index] = value; show(); return Array.from(restored); },
      restored: function () { return Array.from(restored); }
    };
    show();
  }
  document.querySelectorAll('.restoration').forEach(function (section) {
    if (section.querySelector('script[type="application/json"]')) live(section);
  });
})();
"""
