"""JavaScript of the graph of a circuit, and of what is known about the chosen node."""

NODE = """
(function () {
  'use strict';
  const data = circuit.data, make = circuit.make, panel = document.getElementById('node');
  const graph = document.querySelector('.graph svg'), nodes = data.nodes;
  const dots = Array.from(graph.querySelectorAll('[data-node]'));
  const lines = Array.from(graph.querySelectorAll('[data-edge]'));
  const streams = Array.from(graph.querySelectorAll('[data-stream]'));
  const READS = { attn_in: 1, mlp_in: 1 }, WRITES = { attn_out: 1, mlp_out: 1 };
  const ORDER = ['attn_in', 'attn_q', 'attn_k', 'attn_v', 'attn_out', 'mlp_in', 'mlp_neuron', 'mlp_out'];
  const wide = data.network.width / data.network.heads;

  function words(node) {
    const head = Math.floor(node.index / wide), channel = node.index % wide;
    const inHead = ' ' + channel + ' of head ' + head + ', layer ' + node.layer;
    return {
      attn_in: 'Attention of layer ' + node.layer + ' reads channel ' + node.index + ' of the residual stream',
      attn_q: 'Query channel' + inHead, attn_k: 'Key channel' + inHead, attn_v: 'Value channel' + inHead,
      attn_out: 'Attention of layer ' + node.layer + ' writes channel ' + node.index + ' of the residual stream',
      mlp_in: 'The MLP of layer ' + node.layer + ' reads channel ' + node.index + ' of the residual stream',
      mlp_neuron: 'Neuron ' + node.index + ' of the MLP of layer ' + node.layer,
      mlp_out: 'The MLP of layer ' + node.layer + ' writes channel ' + node.index + ' of the residual stream'
    }[node.site];
  }
  function before(a, b) {  // in the order of the computation
    return a.layer - b.layer || ORDER.indexOf(a.site) - ORDER.indexOf(b.site);
  }
  function same(i, sites, later) {  // nodes of the same channel of the residual stream
    return nodes.map(function (_, j) { return j; }).filter(function (j) {
      const order = before(nodes[j], nodes[i]);
      return sites[nodes[j].site] && nodes[j].index === nodes[i].index && (later ? order > 0 : order < 0);
    });
  }
  function table(title, rows, more) {
    if (!rows.length) return '';
    const head = [title, 'weight', 'loss change if removed'].concat(more).map(function (text, n) {
      return make(n ? 'td' : 'th', {}, text);
    });
    return make('div', { 'class': 'scroll' }, make('table', { 'class': 'wide' }, [make('tr', {}, head)].concat(rows)));
  }
  function carried(edge, t) {  // weight times value at a token
    const from = nodes[edge.from], here = circuit.current.values[from.layer];
    const site = from.site === 'attn_v' ? 'gathered' : from.site;
    return edge.weight * here[site][t][from.index];
  }
  function sum(i) {  // how the value of a node at the last token comes about
    const node = nodes[i], t = circuit.tokens.length - 1, before = circuit.current.values[node.layer].before[node.site];
    if (!before) return '';
    let rest = before[t][node.index];
    data.edges.forEach(function (edge, k) { if (edge.to === i && circuit.kept(k)) rest -= carried(edge, t); });
    const named = node.site === 'mlp_neuron' ? 'before GELU and AbsTopK' : 'before AbsTopK';
    return make('p', { 'class': 'listed' }, 'At the last token of your prompt: these and a constant of ' +
      circuit.signed(rest, 2) + ' add up to ' + circuit.signed(before[t][node.index], 2) + ' ' + named +
      '; the value is ' +
      circuit.signed(circuit.value(circuit.current, i, t), 2) + '.');
  }
  function edges(i, end, other) {
    const last = circuit.tokens.length - 1;
    return data.edges.map(function (edge, k) { return [edge, k]; }).filter(function (pair) {
      return pair[0][end] === i;
    }).sort(function (a, b) { return Math.abs(b[0].weight) - Math.abs(a[0].weight); }).map(function (pair) {
      return make('tr', circuit.kept(pair[1]) ? {} : { 'class': 'off' }, [
        make('th', { scope: 'row' }, circuit.link(pair[0][other])),
        make('td', { 'class': pair[0].weight < 0 ? 'down' : 'up' }, circuit.signed(pair[0].weight, 3)),
        make('td', {}, circuit.signed(pair[0].effect, 3))
      ].concat(end === 'to' ? make('td', {}, circuit.signed(carried(pair[0], last), 3)) : []));
    });
  }
  function list(title, parts) {
    return parts.length ? make('p', { 'class': 'listed' }, [make('b', {}, title + ' ')].concat(parts)) : '';
  }
  function chips(pairs) { return pairs.map(function (pair) { return circuit.chip(pair[0], pair[1]); }); }

  function inputs(i) {
    const node = nodes[i], found = [table('from', edges(i, 'to', 'from'), 'adds here')];
    if (found[0]) found.push(sum(i));
    if (READS[node.site]) {
      found.push(list('Tokens that write channel ' + node.index + ' by their embedding:', chips(node.embeddings)));
      found.push(list('Written before by', same(i, WRITES, false).map(circuit.link)));
    }
    if (node.site === 'attn_q' || node.site === 'attn_k') {
      const partner = node.site === 'attn_q' ? 'attn_k' : 'attn_q';
      found.push(list('Multiplied with', nodes.map(function (_, j) { return j; }).filter(function (j) {
        return nodes[j].site === partner && nodes[j].layer === node.layer && nodes[j].index === node.index;
      }).map(circuit.link)));
    }
    return found;
  }
  function outputs(i) {
    const node = nodes[i], found = [table('to', edges(i, 'from', 'to'), [])];
    if (WRITES[node.site]) {
      found.push(list('Read later by', same(i, READS, true).map(circuit.link)));
      found.push(list('Logits that it moves (for each unit written, before the last norm):', chips(node.logits)));
      found.push(list('Of these answers:', chips(node.answers)));
      found.push(direct(i));
    }
    return found;
  }
  function direct(i) {  // what the write adds to the difference of the answers, at the last token
    const both = circuit.answers, node = nodes[i], run = circuit.current;
    if (!both || !run) return '';
    const table = data.network.unembedding, word = circuit.word;
    const weight = both.map(function (token) {
      for (let j = table.start[token]; j < table.start[token + 1]; j++) {
        if (table.index[j] === node.index) return table.value[j] * data.network.norm[node.index];
      }
      return 0;
    });
    const value = circuit.value(run, i, circuit.tokens.length - 1);
    const moved = value * run.scale * (weight[0] - weight[1]);
    return make('p', { 'class': 'listed' }, [
      make('b', {}, 'On this prompt '), 'it writes ' + circuit.signed(value, 3) + ' at the last token, which moves ' +
      JSON.stringify(word(both[0])) + ' relative to ' + JSON.stringify(word(both[1])) + ' by ' +
      circuit.signed(moved, 3) + '.'
    ]);
  }

  function tokens(numbers, values, largest, at) {
    const line = make('div', { 'class': 'tokens' });
    numbers.forEach(function (token, t) {
      if (token === 0) return;  // padding
      const one = make(t === at ? 'mark' : 'span', { title: circuit.signed(values[t], 3) },
        circuit.word(token).replace(/\\n/g, '\\u23ce'));
      line.append(circuit.shade(one, values[t], largest));
    });
    return line;
  }
  function most(values) { return values.reduce(function (a, b) { return Math.max(a, Math.abs(b)); }, 0); }

  function choice() {  // whose values are shown
    const box = make('input', { type: 'checkbox', name: 'whole' });
    box.checked = circuit.whole;
    box.addEventListener('change', function () {
      circuit.whole = box.checked;
      circuit.changed('node');
      panel.querySelector('[name=whole]').focus();
    });
    return make('label', { 'class': 'toggle' }, [box, 'values in the complete network']);
  }
  function onPrompts(i) {
    const made = make('section', {}, make('h4', {}, 'On the prompts of the task'));
    if (data.network.complete) made.append(choice());
    const runs = [circuit.tokens].concat(data.prompts.slice(0, 4).map(function (prompt) {
      return prompt.tokens;
    })).map(function (numbers) { return [numbers, circuit.recorded(numbers)]; });
    const values = runs.map(function (run) {
      return run[0].map(function (_, t) { return circuit.value(run[1], i, t); });
    });
    const largest = most(values.map(most));
    runs.forEach(function (run, r) {
      const line = tokens(run[0], values[r], largest), last = values[r].length - 1;
      made.append(make('div', { 'class': r ? 'context' : 'context chosen' }, [
        make('small', {}, r ? 'last ' + circuit.signed(values[r][last], 2) : 'yours: last ' +
          circuit.signed(values[r][last], 2)), line
      ]));
    });
    return made;
  }
  function inCorpus(i) {
    const all = data.contexts;
    if (!all) return make('p', { 'class': 'note' }, 'No contexts of a corpus are stored with this circuit.');
    const [, groups, each, size] = all.shape, made = make('section', {}, make('h4', {}, 'In the corpus'));
    const share = (100 * all.active[i]).toPrecision(2);
    made.append(make('p', { 'class': 'note' }, 'Values in the complete network at ' + all.count.toLocaleString('en') +
      ' tokens: not 0 at ' + share + '\\u202f%, from ' + circuit.signed(all.smallest[i], 2) + ' to ' +
      circuit.signed(all.largest[i], 2) + '. The median is that of the values other than 0.'));
    const start = i * groups * each * size;
    const largest = most(all.values.subarray(start, start + groups * each * size));
    all.groups.forEach(function (group, g) {
      const part = make('div', { 'class': 'group' }, make('h5', {}, group));
      for (let k = 0; k < each; k++) {
        const from = start + (g * each + k) * size, values = Array.from(all.values.subarray(from, from + size));
        const numbers = Array.from(all.tokens.subarray(from, from + size));
        if (!numbers.some(Boolean)) continue;
        part.append(make('div', { 'class': 'context' }, [
          make('small', {}, circuit.signed(values[all.place], 2)), tokens(numbers, values, largest, all.place)
        ]));
      }
      if (part.children.length === 1) part.append(make('p', { 'class': 'note' }, 'none: it is never negative'));
      made.append(part);
    });
    return made;
  }

  function show() {
    const i = circuit.node, node = nodes[i];
    if (!node) return;
    const box = make('input', { type: 'checkbox', name: 'ablate' });
    box.checked = !circuit.alive(i);
    box.addEventListener('change', function () {
      if (box.checked) circuit.off.add(i); else circuit.off.delete(i);
      circuit.changed('size');
      panel.querySelector('[name=ablate]').focus();
    });
    box.disabled = !circuit.alive(i) && !circuit.off.has(i);
    const head = make('header', {}, [
      make('div', {}, [
        make('h3', {}, words(node)),
        make('p', { 'class': 'note' }, node.node + '; removing it changes the task loss by ' +
          circuit.signed(node.effect, 3) + ' nats')
      ]),
      make('label', { 'class': 'toggle' }, [box, 'ablate this node'])
    ]);
    const sides = make('div', { 'class': 'sides' }, [
      make('section', {}, [make('h4', {}, 'Inputs')].concat(inputs(i))),
      make('section', {}, [make('h4', {}, 'Outputs')].concat(outputs(i)))
    ]);
    panel.replaceChildren(head, sides, onPrompts(i), inCorpus(i));
  }
  function mark() {
    dots.forEach(function (dot, i) {
      dot.classList.toggle('off', !circuit.alive(i));
      dot.classList.toggle('chosen', i === circuit.node);
      dot.setAttribute('aria-pressed', String(i === circuit.node));
      dot.setAttribute('tabindex', i === circuit.node ? '0' : '-1');
    });
    lines.forEach(function (line, k) {
      const edge = data.edges[k];
      line.classList.toggle('off', !circuit.kept(k));
      line.classList.toggle('near', edge.from === circuit.node || edge.to === circuit.node);
    });
    streams.forEach(function (line) {
      const ends = line.dataset.stream.split(' ').map(Number);
      line.classList.toggle('near', ends.includes(circuit.node));
    });
  }
  function toward(key, i) {  // the nearest node in the direction of an arrow key
    const place = dots.map(function (dot) {
      const circle = dot.querySelector('circle');
      return [Number(circle.getAttribute('cx')), Number(circle.getAttribute('cy'))];
    });
    const axis = key === 'ArrowLeft' || key === 'ArrowRight' ? 0 : 1;
    const sign = key === 'ArrowRight' || key === 'ArrowDown' ? 1 : -1;
    let best = i, least = Infinity;
    place.forEach(function (one, j) {
      const along = sign * (one[axis] - place[i][axis]), across = Math.abs(one[1 - axis] - place[i][1 - axis]);
      if (along > 1 && along + 3 * across < least) [best, least] = [j, along + 3 * across];
    });
    return best;
  }
  dots.forEach(function (dot, i) {
    dot.addEventListener('click', function () { circuit.choose(i); });
    dot.addEventListener('keydown', function (event) {
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault();
        circuit.choose(i);
        panel.focus();
      } else if (event.key.startsWith('Arrow')) {
        event.preventDefault();
        const next = toward(event.key, i);
        circuit.choose(next);
        dots[next].focus();
      }
    });
  });
  document.querySelectorAll('[data-place]').forEach(function (place) {  // of a story
    const name = place.dataset.place.replace(' neuron ', ' mlp_neuron ');
    const i = nodes.findIndex(function (node) { return node.node === name; });
    if (i >= 0) place.replaceChildren(circuit.link(i));
  });
  circuit.onchange(function (what) {
    if (what === 'query') return;
    mark();
    show();
  });
})();
"""
