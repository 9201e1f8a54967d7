// What the page shows. Everything that a model, a visitor or the server says is set as text, never as HTML.

export function made(tag, className, text) {
  const one = document.createElement(tag);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

export function add(log, event) {
  if (event.kind === 'said') {
    const line = made('p', `said ${event.speaker === 0 ? 'first' : ''}`, event.text);
    line.prepend(made('span', 'who', event.speaker === 0 ? 'First: ' : 'Model: '));
    log.append(line, ...reasons(event));
  } else {
    log.append(made('p', `note ${event.kind}`, event.text));
  }
  log.scrollTop = log.scrollHeight;
}

// Why an answer was given: a bar for each sentence of the persona, what a receiver perceives, and the candidates.
function reasons(event) {
  const found = [];
  const bars = event.bars ?? [];
  if (bars.length) {
    const why = made('div', 'why');
    why.append(...bars.map(([sentence, weight]) => bar(sentence, weight)));
    found.push(why);
  }
  if (event.perception) {
    const [score, sentence] = event.perception;
    found.push(made('p', 'why', `perception ${score.toFixed(2)}: ${sentence}`));
  }
  if (event.candidates?.length) {
    const why = made('details', 'why');
    why.append(made('summary', '', 'Candidates and scores'));
    why.append(...event.candidates.map(([text, score]) => made('div', '', `${score.toFixed(2)}  ${text}`)));
    found.push(why);
  }
  return found;
}

function bar(sentence, weight) {
  const row = made('div', 'bar');
  const meter = made('meter');
  Object.assign(meter, { min: 0, max: 1, value: weight, ariaLabel: `${Math.round(100 * weight)} %: ${sentence}` });
  row.append(meter, made('span', '', weight.toFixed(2)), made('span', '', sentence));
  return row;
}

export function heat({ model, persona, said, relevance, scores }) {
  const values = relevance.flat();
  const low = Math.min(...values);
  const high = Math.max(...values);
  const table = made('table');
  table.append(made('caption', '', model));
  const head = made('tr');
  head.append(...['', ...persona, 'score'].map((text) => made('th', '', text)));
  table.append(head);
  said.forEach((text, row) => {
    const line = made('tr');
    line.append(made('th', '', text));
    for (const value of relevance[row]) {
      const cell = made('td', '', value.toFixed(2));
      const share = high > low ? (value - low) / (high - low) : 0;
      cell.style.backgroundColor = `color-mix(in srgb, var(--accent) ${Math.round(60 * share)}%, transparent)`;
      line.append(cell);
    }
    line.append(made('td', '', scores[row].toFixed(2)));
    table.append(line);
  });
  return table;
}

// The votes about two logs, for each question.
export function counted({ logs, results }) {
  const table = made('table');
  const head = made('tr');
  head.append(...['question', ...logs, 'sign test, p'].map((text) => made('th', '', text)));
  table.append(head);
  for (const { question, votes, p } of results) {
    const line = made('tr');
    line.append(made('th', '', question), ...[...votes, p.toFixed(3)].map((text) => made('td', '', text)));
    table.append(line);
  }
  return table;
}
