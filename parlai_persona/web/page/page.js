// The page of `parlai persona_web`. Everything that a model, a visitor or the server says is set as text, never as HTML.

const element = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get('token');
const KEPT = 'parlai-persona conversation'; // of this tab, so that a reload goes on with it
let view = 'chat';
let playing = false;
let ready = [];

// ---------------------------------------------------------------------------------------------------- asking

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(name, sent) {
  const headers = { 'X-Conversation': sessionStorage.getItem(KEPT) ?? '' };
  if (token) headers.Authorization = `Bearer ${token}`;
  let body;
  if (sent instanceof Blob) body = sent;
  else if (sent) body = JSON.stringify(sent);
  let answer;
  try {
    answer = await fetch(`api/${name}`, { method: sent ? 'POST' : 'GET', headers, body });
  } catch {
    throw new Refused(0, 'The server does not answer. Is it still running?');
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
  }
  return answer;
}

const get = async (name, sent) => (await ask(name, sent)).json();

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice('data: '.length));
  }
}

function complain(error) {
  if (!(error instanceof Refused)) throw error;
  element('problem').textContent = error.message;
  element('problem').hidden = false;
  if (error.status === 410) {
    sessionStorage.removeItem(KEPT);
    element('problem').textContent += '. What was said is still below; the next message begins a new conversation.';
  }
}

// Does something that a person asked for. Meanwhile no other button works.
async function doing(work) {
  element('problem').hidden = true;
  const buttons = [...document.querySelectorAll('button, select, #dialogues')].filter((one) => one.id !== 'play');
  for (const one of buttons) one.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    complain(error);
    return false;
  } finally {
    for (const one of buttons) one.disabled = false;
  }
}

// --------------------------------------------------------------------------------------------------- showing

function made(tag, className, text) {
  const one = document.createElement(tag);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

function show(state) {
  sessionStorage.setItem(KEPT, state.id);
  element('panes').replaceChildren(...state.panes.map((pane) => {
    const section = made('section');
    section.append(made('h2', '', pane.model));
    const log = made('div', 'log');
    Object.assign(log, { role: 'log', tabIndex: 0, ariaLabel: `Conversation with ${pane.model}` });
    section.append(log);
    for (const event of pane.events) add(log, event);
    return section;
  }));
  const [first] = state.panes;
  if (first.watched !== (view === 'watch') || state.panes.length !== (view === 'compare' ? 2 : 1)) {
    view = first.watched ? 'watch' : state.panes.length === 2 ? 'compare' : 'chat';
  }
  for (const form of document.querySelectorAll('.persona')) {
    form.querySelector('textarea').value = first.personas[form.dataset.speaker].join('\n');
  }
  document.querySelector('label[for=partners]').textContent = first.watched ? "The first model's persona" : 'Your persona';
  element('upload').hidden = !first.adapts;
  element('map').hidden = !first.judged;
  element('heat').hidden = true;
  choose();
  return state;
}

const logs = () => [...document.querySelectorAll('.log')];

function add(log, event) {
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

function heat({ persona, said, relevance, scores }) {
  const values = relevance.flat();
  const low = Math.min(...values);
  const high = Math.max(...values);
  const table = made('table');
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

function choose() {
  for (const one of document.querySelectorAll('nav button')) one.ariaPressed = String(one.dataset.view === view);
  element('talk').hidden = view === 'judge';
  element('judge').hidden = view !== 'judge';
  element('say').hidden = view === 'watch';
  element('watching').hidden = view !== 'watch';
  element('models').hidden = view === 'judge';
  element('with').hidden = view === 'chat';
}

// ---------------------------------------------------------------------------------------------------- talking

const numbers = () => (view === 'chat' ? ['first'] : ['first', 'second']).map((id) => Number(element(id).value));

const open = async () => show(await get('open', { view, models: numbers() }));

// Asks for replies, and shows them as they come.
async function follow(name, sent) {
  const waiting = logs().map((log) => {
    const line = log.appendChild(made('p', 'said typing', '…'));
    line.ariaLabel = 'typing';
    log.scrollTop = log.scrollHeight;
    return line;
  });
  try {
    for await (const event of events(await ask(name, sent))) {
      const log = logs()[event.pane];
      const line = waiting[event.pane];
      if (event.kind === 'words') line.textContent = event.text;
      else if (!(event.kind === 'said' && event.speaker === 0 && name === 'say')) add(log, event);
      log.append(line);
      log.scrollTop = log.scrollHeight;
    }
  } finally {
    for (const line of waiting) line.remove();
  }
}

async function say(text) {
  const lines = logs().map((log) => {
    add(log, { kind: 'said', speaker: 0, text });
    return log.lastChild;
  });
  try {
    if (!sessionStorage.getItem(KEPT)) await open();
    if (!lines[0].isConnected) for (const log of logs()) add(log, { kind: 'said', speaker: 0, text });
    await follow('say', { text });
  } catch (error) {
    element('text').value = text; // so that it can be sent again
    for (const line of lines) line.classList.add('error');
    throw error;
  }
}

element('say').addEventListener('submit', async (submitted) => {
  submitted.preventDefault();
  const text = element('text').value.trim();
  if (!text) return;
  element('text').value = '';
  await doing(() => say(text));
  element('text').focus();
});

element('once').addEventListener('click', () => doing(() => follow('exchange', {})));

element('play').addEventListener('click', async () => {
  playing = !playing;
  element('play').ariaPressed = String(playing);
  while (playing && (await doing(() => follow('exchange', {})))) await new Promise((go) => setTimeout(go, 500));
  playing = false;
  element('play').ariaPressed = 'false';
});

for (const form of document.querySelectorAll('.persona')) {
  const speaker = Number(form.dataset.speaker);
  form.addEventListener('submit', (submitted) => {
    submitted.preventDefault();
    const sentences = form.querySelector('textarea').value.split('\n').filter((line) => line.trim());
    doing(async () => show(await get('persona', { speaker, sentences })));
  });
  form.querySelector('.sample').addEventListener('click', () => doing(async () => show(await get('persona', { speaker }))));
}

element('reset').addEventListener('click', () => doing(async () => show(await get('reset', {}))));

element('download').addEventListener('click', () => doing(async () => {
  const link = made('a');
  link.href = URL.createObjectURL(await (await ask('download')).blob());
  link.download = 'conversation.jsonl';
  link.click();
  URL.revokeObjectURL(link.href);
}));

element('dialogues').addEventListener('change', () => doing(async () => {
  const [file] = element('dialogues').files;
  if (file) show(await get('dialogues', file));
  element('dialogues').value = '';
}));

element('map').addEventListener('click', () => doing(async () => {
  element('heat').replaceChildren(...(await get('map', {})).map(heat));
  element('heat').hidden = false;
  element('heat').focus();
}));

for (const one of document.querySelectorAll('nav button')) {
  one.addEventListener('click', () => doing(async () => {
    playing = false;
    view = one.dataset.view;
    choose();
    await open();
  }));
}

for (const id of ['first', 'second']) element(id).addEventListener('change', () => doing(open));

// --------------------------------------------------------------------------------------------------- starting

function wait(state) {
  ready = state.models.filter((model) => model.state === 'ready');
  const told = state.models.map((model) => `${model.name}: ${model.error || model.state} (${model.seconds} s)`);
  element('loading').textContent = told.join('\n');
  const settled = state.models.filter((model) => ['ready', 'failed'].includes(model.state)).length;
  element('progress').max = state.models.length;
  element('progress').value = settled + 0.1;
  return settled < state.models.length;
}

async function start() {
  for (;;) {
    const state = await get('state');
    if (!wait(state)) {
      element('progress').hidden = true;
      element('loading').hidden = ready.length === state.models.length;
      element('text').maxLength = state.longest;
      const options = state.models.map((model, place) => {
        const option = made('option', '', model.name);
        Object.assign(option, { value: place, disabled: model.state !== 'ready' });
        return option;
      });
      element('first').replaceChildren(...options);
      element('second').replaceChildren(...options.map((option) => option.cloneNode(true)));
      const last = element('second').options.length - 1;
      if (!options[last].disabled) element('second').selectedIndex = last;
      break;
    }
    await new Promise((go) => setTimeout(go, 1000));
  }
  if (!ready.length) return;
  element('talk').hidden = false;
  await again();
  element('text').focus();
}

// Goes on with the conversation of this tab, or begins one. An answer that was on its way is waited for.
async function again() {
  if (sessionStorage.getItem(KEPT)) {
    try {
      while (show(await get('conversation')).busy) await new Promise((go) => setTimeout(go, 1000));
      return;
    } catch (error) {
      if (error.status !== 410) throw error;
      sessionStorage.removeItem(KEPT);
    }
  }
  await open();
}

doing(start);
