"""JavaScript of the sliders: fewer edges, fewer nodes, and the held-out loss that is left."""

SIZE = """
(function () {
  'use strict';
  const data = circuit.data, box = document.getElementById('size'), held = data.held_out;
  const edges = box.querySelector('[name=edges]'), least = box.querySelector('[name=least]');
  const said = box.querySelector('.loss'), all = data.nodes.length;
  edges.max = data.edges.length;
  edges.value = data.edges.length;
  least.max = all;
  const prompts = [];
  if (held) {
    let start = 0;
    held.lengths.forEach(function (length, i) {
      prompts.push([Array.from(held.tokens.subarray(start, start + length)), held.right[i], held.wrong[i]]);
      start += length;
    });
  }
  function scores(differences) {  // as zoo.circuits.analysis.token_pair_task.scores_of
    function mean(values) { return values.reduce(function (a, b) { return a + b; }, 0) / values.length; }
    function softplus(x) { return Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0); }
    function loss(some) { return mean(some.map(function (x) { return softplus(-x); })); }
    function accuracy(some) { return mean(some.map(function (x) { return x > 0 ? 1 : 0; })); }
    const sides = [0, 1].map(function (side) {
      return differences.filter(function (_, i) { return i % 2 === side; });
    });
    return {
      loss: loss(differences), accuracy: accuracy(differences),
      worst_loss: Math.max.apply(null, sides.map(loss)), worst_accuracy: Math.min.apply(null, sides.map(accuracy))
    };
  }
  function difference(prompt) {
    const run = circuit.run(prompt[0], false);
    return circuit.logit(run, prompt[1]) - circuit.logit(run, prompt[2]);
  }
  circuit.measure = function () { return scores(prompts.map(difference)); };

  let job = 0;
  function measure() {  // in pieces, so that the page stays responsive; a newer setting stops an older one
    const mine = ++job, found = [];
    said.setAttribute('aria-busy', 'true');
    function piece() {
      if (mine !== job) return;
      const end = Date.now() + 30;
      while (found.length < prompts.length && Date.now() < end) found.push(difference(prompts[found.length]));
      if (found.length < prompts.length) {
        said.textContent = 'measuring: ' + found.length + ' of ' + prompts.length + ' prompts';
        setTimeout(piece, 0);
        return;
      }
      const now = scores(found);
      said.textContent = 'Held-out loss ' + now.loss.toFixed(3) + ' nats, ' + (100 * now.accuracy).toFixed(0) +
        ' % right (worse answer: ' + (100 * now.worst_accuracy).toFixed(0) + ' %), on ' + prompts.length + ' prompts.';
      said.removeAttribute('aria-busy');
    }
    piece();
  }
  function show() {
    const alive = data.nodes.filter(function (_, i) { return circuit.alive(i); }).length;
    const kept = data.edges.filter(function (_, k) { return circuit.kept(k); }).length;
    const i = circuit.least, effect = i ? data.nodes[circuit.order[i - 1]].effect : null;
    edges.nextElementSibling.textContent = circuit.edges + ' of ' + data.edges.length;
    least.nextElementSibling.textContent = effect === null ? 'none' : 'up to ' + circuit.signed(effect, 3) + ' nats';
    box.querySelector('.left').textContent = alive + ' of ' + all + ' nodes and ' + kept + ' of ' + data.edges.length +
      ' edges are left.';
  }
  edges.addEventListener('input', function () {
    circuit.edges = Number(edges.value);
    circuit.changed('size');
  });
  least.addEventListener('input', function () {
    circuit.least = Number(least.value);
    circuit.changed('size');
  });
  box.querySelector('button').addEventListener('click', function () {
    circuit.off.clear();
    [edges.value, least.value] = [data.edges.length, 0];
    [circuit.edges, circuit.least] = [data.edges.length, 0];
    circuit.changed('size');
  });
  circuit.onchange(function (what) {
    if (what === 'node' || what === 'query') return;
    show();
    if (held && (what === 'size' || !said.textContent)) measure();
  });
  document.body.dataset.live = '1';
  circuit.start();
})();
"""
