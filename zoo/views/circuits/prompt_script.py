"""JavaScript that runs the circuit on a prompt that was chosen or typed."""

PROMPT = """
(function () {
  'use strict';
  const data = circuit.data, make = circuit.make, box = document.getElementById('prompt');
  const tokenize = data.tokenizer ? createTokenizer(data.tokenizer) : null;
  const text = box.querySelector('textarea'), choice = box.querySelector('select[name=prompt]');
  const pair = box.querySelector('select[name=answers]'), wrong = box.querySelector('.problem');

  function answersOf(prompt) { return prompt.right === undefined ? null : [prompt.right, prompt.wrong]; }
  const pairs = new Map();
  function add(right, other) {
    const both = [right, other].sort(function (a, b) { return a - b; });
    pairs.set(both.join(), both);
  }
  data.prompts.forEach(function (prompt) { if (answersOf(prompt)) add(prompt.right, prompt.wrong); });
  if (data.held_out) data.held_out.right.forEach(function (right, i) { add(right, data.held_out.wrong[i]); });
  pairs.forEach(function (both, key) {
    const label = both.map(function (token) { return JSON.stringify(circuit.word(token)); }).join(' or ');
    pair.append(make('option', { value: key }, label));
  });
  if (!pairs.size) pair.closest('label').hidden = true;
  data.prompts.forEach(function (prompt, i) {
    const whole = prompt.tokens.map(circuit.word).join('');
    choice.append(make('option', { value: i }, circuit.visible(whole.slice(-44)).replace(/\\u2423/g, ' ')));
  });
  choice.append(make('option', { value: 'typed', hidden: '' }, 'typed below'));
  if (!tokenize) text.closest('label').hidden = true;

  function take(tokens) {
    const most = data.length;
    if (!tokens.length) return 'Type at least one token.';
    if (tokens.length > most) {
      return 'The prompt has ' + tokens.length + ' tokens; the model reads at most ' + most + '.';
    }
    circuit.tokens = tokens;
    return '';
  }
  function fromText() {
    wrong.textContent = take(tokenize(text.value));
    if (wrong.textContent) return;
    choice.value = 'typed';
    circuit.changed('prompt');
  }
  function fromChoice() {
    const prompt = data.prompts[Number(choice.value)], both = answersOf(prompt);
    if (both) pair.value = both.slice().sort(function (a, b) { return a - b; }).join();
    text.value = prompt.tokens.map(circuit.word).join(data.tokenizer && data.tokenizer.kind === 'words' ? ' ' : '');
    wrong.textContent = take(prompt.tokens);
    circuit.changed('prompt');
  }
  let waiting = null;
  text.addEventListener('input', function () {
    clearTimeout(waiting);
    waiting = setTimeout(fromText, 150);
  });
  choice.addEventListener('input', fromChoice);
  pair.addEventListener('input', function () { circuit.changed('prompt'); });

  function best(run, count) {  // of all tokens, if the page has their logits
    if (data.network.shown.length < data.texts.length) return null;
    const order = Array.from(run.logits.keys()).sort(function (a, b) { return run.logits[b] - run.logits[a]; });
    const top = run.logits[order[0]];
    const total = run.logits.reduce(function (sum, logit) { return sum + Math.exp(logit - top); }, 0);
    return order.slice(0, count).map(function (token) { return [token, Math.exp(run.logits[token] - top) / total]; });
  }
  function row(name, run, both) {
    const cells = [make('th', { scope: 'row' }, name)];
    if (both) {
      const logits = both.map(function (token) { return circuit.logit(run, token); });
      const difference = logits[0] - logits[1], share = 1 / (1 + Math.exp(-difference));
      logits.forEach(function (logit) { cells.push(make('td', {}, circuit.signed(logit, 4))); });
      const winner = difference > 0 ? 0 : 1;
      cells.push(make('td', { 'class': 'answer' }, [
        make('code', {}, circuit.visible(circuit.word(both[winner]))),
        ' ' + (100 * (winner ? 1 - share : share)).toFixed(1) + '\\u202f%'
      ]));
    }
    const next = best(run, 3);
    if (next) {
      cells.push(make('td', { 'class': 'next' }, next.map(function (one) {
        return make('span', { 'class': 'chip' }, [
          make('code', {}, circuit.visible(circuit.word(one[0]))),
          make('small', {}, ' ' + (100 * one[1]).toFixed(0) + '%')
        ]);
      })));
    }
    return make('tr', {}, cells);
  }
  function show() {
    circuit.answers = pairs.get(pair.value) || null;
    circuit.current = circuit.run(circuit.tokens, true);
    const whole = circuit.complete(circuit.tokens), both = circuit.answers;
    const head = [make('th', {}, '')].concat((both || []).map(function (token) {
      return make('td', {}, [make('code', {}, circuit.visible(circuit.word(token)))]);
    }));
    if (both) head.push(make('td', {}, 'of the two'));
    if (best(circuit.current, 1)) head.push(make('td', {}, 'of all tokens'));
    const rows = [make('tr', {}, head), row('circuit', circuit.current, both)];
    if (whole) rows.push(row('complete network', whole, both));
    box.querySelector('table').replaceChildren.apply(box.querySelector('table'), rows);
    const line = circuit.tokens.map(function (token, t) {
      const text = circuit.word(token).replace(/\\n/g, '\\u23ce\\n');
      return make(t === circuit.tokens.length - 1 ? 'mark' : 'span', {}, text);
    });
    box.querySelector('pre').replaceChildren.apply(box.querySelector('pre'), line);
    box.querySelector('.count').textContent = circuit.tokens.length + ' tokens; the answer follows the marked one';
  }
  circuit.onchange(function (what) { if (what !== 'node' && what !== 'query') show(); });
  circuit.start = fromChoice;
  circuit.read = function (typed) {  // as if it was typed, at once
    text.value = typed;
    fromText();
  };
})();
"""
