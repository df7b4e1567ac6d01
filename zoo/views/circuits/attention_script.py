"""JavaScript that draws the attention of a head of the circuit, and the products of its queries and keys."""

ATTENTION = """
(function () {
  'use strict';
  const data = circuit.data, make = circuit.make, box = document.getElementById('attention');
  const net = data.network, wide = net.width / net.heads, heads = new Map();
  data.nodes.slice().sort(function (a, b) { return b.effect - a.effect; }).forEach(function (node) {
    if (!/^attn_[qkv]$/.test(node.site)) return;
    const head = Math.floor(node.index / wide);
    heads.set(node.layer + ' ' + head, [node.layer, head]);
  });
  if (!heads.size) {
    box.hidden = true;
    return;
  }
  const choice = box.querySelector('select'), tokens = box.querySelector('.keys'), arcs = box.querySelector('svg');
  const grid = box.querySelector('.grid'), products = box.querySelector('.products');
  const gathers = box.querySelector('.gathers');
  let query = -1;  // index of the token that attends; -1: the last one
  heads.forEach(function (pair, key) {
    choice.append(make('option', { value: key }, 'layer ' + pair[0] + ', head ' + pair[1]));
  });
  choice.addEventListener('input', function () { circuit.changed('query'); });

  function draw(name, attributes, text) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    Object.entries(attributes).forEach(function (pair) { made.setAttribute(pair[0], pair[1]); });
    if (text) made.textContent = text;
    return made;
  }
  function show() {
    const [layer, head] = heads.get(choice.value), run = circuit.current, rows = run.attention[layer][head];
    const T = rows.length, at = query < 0 || query >= T ? T - 1 : query, row = rows[at];
    const sum = row.reduce(function (a, b) { return a + b; }, 0);
    tokens.replaceChildren.apply(tokens, circuit.tokens.map(function (token, t) {
      const button = make('button', { type: 'button', 'class': 'key', 'aria-pressed': String(t === at) }, [
        make('code', {}, circuit.visible(circuit.word(token))),
        make('small', {}, t <= at ? (100 * row[t]).toFixed(0) + '%' : '')
      ]);
      if (t <= at) circuit.shade(button, row[t], 1);
      button.addEventListener('click', function () {
        query = t;
        circuit.changed('query');
        tokens.children[t].focus();
      });
      return button;
    }));
    box.querySelector('.sink').textContent = 'The marked token attends; ' + (100 * (1 - sum)).toFixed(0) +
      ' % of its attention go to the sink, which has no value.';
    lines(row, at);
    matrix(rows, at);
    pairs(layer, head, at, row);
    values(layer, head, at, row);
  }
  function lines(row, at) {  // arcs from the query to its keys
    const place = Array.from(tokens.children, function (one) {
      return [one.offsetLeft + one.offsetWidth / 2, one.offsetTop];
    });
    const width = tokens.clientWidth, height = tokens.offsetHeight;
    arcs.setAttribute('viewBox', '0 -46 ' + width + ' ' + (height + 46));
    arcs.setAttribute('width', width);
    arcs.setAttribute('height', height + 46);
    arcs.replaceChildren.apply(arcs, row.length < 2 ? [] : Array.from(row, function (weight, j) {
      const [x, y] = place[at], [u, v] = place[j], middle = (x + u) / 2, top = Math.min(y, v);
      const lift = top - Math.min(44, 8 + Math.abs(x - u) / 5);
      return draw('path', {
        d: 'M' + x + ' ' + y + 'Q' + middle + ' ' + lift + ' ' + u + ' ' + v,
        'stroke-width': (6 * weight).toFixed(2), opacity: j === at ? 0 : 0.75
      });
    }).filter(function (_, j) { return row[j] > 0.02; }));
  }
  function matrix(rows, at) {  // all queries (rows) and keys (columns)
    const T = rows.length, side = Math.max(4, Math.min(14, Math.floor(320 / T)));
    const most = rows.reduce(function (best, row) { return Math.max(best, Math.max.apply(null, Array.from(row))); }, 0);
    const made = draw('svg', {
      viewBox: '0 0 ' + T * side + ' ' + T * side, width: T * side, height: T * side, role: 'img',
      'aria-label': 'attention of ' + T + ' queries (rows) to keys (columns)'
    });
    rows.forEach(function (row, i) {
      row.forEach(function (weight, j) {
        const cell = draw('rect', {
          x: j * side, y: i * side, width: side, height: side,
          'fill-opacity': (most ? weight / most : 0).toFixed(3)
        });
        cell.append(draw('title', {}, JSON.stringify(circuit.word(circuit.tokens[i])) + ' to ' +
          JSON.stringify(circuit.word(circuit.tokens[j])) + ': ' + (100 * weight).toFixed(1) + ' %'));
        made.append(cell);
      });
    });
    made.append(draw('rect', { x: 0, y: at * side, width: T * side, height: side, 'class': 'row' }));
    grid.replaceChildren(made, make('p', { 'class': 'note' }, 'Darkest: ' + (100 * most).toFixed(0) +
      ' %. Rows are queries, columns keys; the framed row is the token that attends.'));
  }
  function pairs(layer, head, at, row) {  // score of each key as a sum over channels: q k / sqrt(D)
    const q = circuit.current.values[layer].attn_q, k = circuit.current.values[layer].attn_k;
    const first = head * wide, kept = [], names = new Map();
    data.nodes.forEach(function (node, i) {
      if (node.layer === layer && (node.site === 'attn_q' || node.site === 'attn_k')) {
        names.set(node.site + node.index, i);
      }
    });
    for (let c = first; c < first + wide; c++) {
      if (names.has('attn_q' + c) || names.has('attn_k' + c)) kept.push(c);
    }
    const keys = Array.from(row.keys()).sort(function (a, b) { return row[b] - row[a]; }).slice(0, 6);
    const scores = keys.map(function (j) {
      let all = 0;
      for (let c = first; c < first + wide; c++) all += q[at][c] * k[j][c] / Math.sqrt(wide);
      return all;
    });
    const head_ = make('tr', {}, [make('th', {}, 'channel'), make('td', {}, 'query')].concat(keys.map(function (j) {
      return make('td', {}, make('code', {}, circuit.visible(circuit.word(circuit.tokens[j]))));
    })));
    const rest = scores.slice();
    const rows = kept.map(function (c) {
      const name = ['attn_q', 'attn_k'].filter(function (site) { return names.has(site + c); });
      const label = name.map(function (site) { return site.slice(-1); }).join('\\u00b7');
      return make('tr', {}, [make('th', { scope: 'row' }, label + ' ' + c), make('td', {}, circuit.signed(q[at][c], 2))]
        .concat(keys.map(function (j, n) {
          const part = q[at][c] * k[j][c] / Math.sqrt(wide);
          rest[n] -= part;
          const cell = make('td', { title: 'key ' + circuit.signed(k[j][c], 3) }, circuit.signed(part, 2));
          return circuit.shade(cell, part, 2);
        })));
    });
    function line(name, numbers) {
      return make('tr', {}, [make('th', { scope: 'row' }, name), make('td', {}, '')].concat(numbers.map(function (one) {
        return make('td', {}, circuit.signed(one, 2));
      })));
    }
    rows.push(line('constant channels', rest), line('score', scores));
    if (net.blocks[layer].sink) rows.push(line('sink', [net.blocks[layer].sink[head]]));
    products.replaceChildren(make('table', { 'class': 'wide' }, [head_].concat(rows)));
  }
  function values(layer, head, at, row) {  // what the head gathers: attention times value, summed over all tokens
    const v = circuit.current.values[layer].attn_v, found = data.nodes.filter(function (node) {
      return node.layer === layer && node.site === 'attn_v' && Math.floor(node.index / wide) === head;
    });
    gathers.hidden = !found.length;
    gathers.querySelector('.chips').replaceChildren.apply(gathers.querySelector('.chips'), found.map(function (node) {
      const parts = Array.from(row, function (weight, j) { return weight * v[j][node.index]; });
      const sum = parts.reduce(function (a, b) { return a + b; }, 0);
      return make('p', { 'class': 'listed' }, [make('b', {}, 'v ' + node.index + ': ')].concat(
        parts.map(function (part, j) { return circuit.chip(circuit.tokens[j], part); }),
        make('b', {}, '= ' + circuit.signed(sum, 2))));
    }));
  }
  circuit.onchange(function (what) {
    if (what === 'prompt') query = -1;
    if (what !== 'node') show();
  });
  window.addEventListener('resize', function () { if (circuit.current) show(); });
})();
"""
