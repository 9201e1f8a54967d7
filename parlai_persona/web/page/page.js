// The page of `parlai persona_web`: what its buttons do. `show.js` draws.

import { ask, Broken, end, events, get, goesOn, keep, Refused } from './ask.js';
import { add, counted, heat, made } from './show.js';

const element = (id) => document.getElementById(id);
let view = 'chat';
let playing = false;
let silent = false; // whether an empty line is a message
let ready = [];
let rate = 60; // requests a minute that the server answers

const pause = (milliseconds) => new Promise((go) => setTimeout(go, milliseconds));

function complain(error) {
  if (!(error instanceof Refused)) throw error;
  element('problem').textContent = error.message;
  element('problem').hidden = false;
  if (error.status === 410) {
    end();
    element('problem').textContent += '. What was said is still below; the next message begins a new conversation.';
  }
}

// Does something that a person asked for. Meanwhile no other button works.
async function doing(work) {
  element('problem').hidden = true;
  const buttons = [...document.querySelectorAll('button, select, #dialogues')].filter((one) => one.id !== 'play');
  const focused = document.activeElement;
  for (const one of buttons) one.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    complain(error);
    return false;
  } finally {
    for (const one of buttons) one.disabled = false;
    if (document.activeElement === document.body) focused.focus(); // a disabled button has lost it
  }
}

// --------------------------------------------------------------------------------------------------- showing

function show(state) {
  keep(state.id);
  if (!state.panes.length) {
    view = 'judge';
    choose();
    return state;
  }
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
  const reader = state.panes.find((pane) => !pane.adapts);
  if (first.watched !== (view === 'watch') || state.panes.length !== (view === 'compare' ? 2 : 1)) {
    view = first.watched ? 'watch' : state.panes.length === 2 ? 'compare' : 'chat';
  }
  for (const form of document.querySelectorAll('.persona')) {
    form.hidden = !reader;
    form.querySelector('textarea').value = reader?.personas[form.dataset.speaker].join('\n') ?? '';
  }
  const [partners, own] = first.watched
    ? ["The first model's persona", "The second model's persona, a sentence a line"]
    : ['Your persona', "The model's persona, a sentence a line"];
  document.querySelector('label[for=partners]').textContent = partners;
  document.querySelector('label[for=own]').textContent = own;
  element('upload').hidden = !state.panes.some((pane) => pane.adapts);
  element('map').hidden = !reader?.judged;
  silent = state.panes.some((pane) => pane.silent);
  element('heat').hidden = true;
  choose();
  return state;
}

const logs = () => [...document.querySelectorAll('.log')];

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

const numbers = () => (view === 'judge' ? [] : view === 'chat' ? ['first'] : ['first', 'second']).map((id) => Number(element(id).value));

async function open() {
  show(await get('open', { view, models: numbers() }));
  if (view === 'judge') await ballot();
}

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
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    await current();
  } finally {
    for (const line of waiting) line.remove();
  }
}

async function say(text) {
  for (const log of logs()) add(log, { kind: 'said', speaker: 0, text });
  try {
    if (!goesOn()) await continued();
    await follow('say', { text });
  } catch (error) {
    element('text').value = text; // so that it can be sent again
    for (const log of logs()) log.lastChild.classList.add('error');
    throw error;
  }
}

// Begins a new conversation below what was said in one that has ended. The last line belongs to the new one.
async function continued() {
  const before = logs().map((log) => [...log.childNodes]);
  const personas = [...document.querySelectorAll('.persona:not([hidden])')].map((form) => [form, sentences(form)]);
  await open();
  for (const [form, own] of personas) {
    if (!form.hidden) show(await get('persona', { speaker: Number(form.dataset.speaker), sentences: own }));
  }
  logs().forEach((log, place) => {
    const line = before[place].pop();
    log.append(...before[place], made('p', 'note', 'Here a new conversation begins; the model forgot what is above.'));
    log.append(line);
  });
}

element('say').addEventListener('submit', async (submitted) => {
  submitted.preventDefault();
  const text = element('text').value.trim();
  if (!text && !silent) return;
  element('text').value = '';
  await doing(() => say(text));
  element('text').focus();
});

element('once').addEventListener('click', () => doing(() => follow('exchange', {})));

element('play').addEventListener('click', async () => {
  playing = !playing;
  element('play').ariaPressed = String(playing);
  while (playing && (await doing(() => follow('exchange', {})))) await pause(60000 / rate);
  playing = false;
  element('play').ariaPressed = 'false';
});

function sentences(form) {
  return form.querySelector('textarea').value.split('\n').filter((line) => line.trim());
}

for (const form of document.querySelectorAll('.persona')) {
  const speaker = Number(form.dataset.speaker);
  form.addEventListener('submit', (submitted) => {
    submitted.preventDefault();
    doing(async () => show(await get('persona', { speaker, sentences: sentences(form) })));
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

async function ballot() {
  const asked = await get('ballot', {});
  element('question').textContent = asked.question;
  for (const side of ['left', 'right']) {
    const lines = asked[side].map((text, place) => made('li', `said ${place % 2 ? '' : 'first'}`, text));
    element(side).replaceChildren(...lines);
  }
}

for (const one of document.querySelectorAll('#votes button')) {
  one.addEventListener('click', () => doing(async () => {
    element('results').replaceChildren(counted(await get('vote', { choice: one.dataset.choice })));
    await ballot();
  }));
}

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
      rate = state.rate;
      for (const one of document.querySelectorAll('nav button')) {
        one.hidden = one.dataset.view === 'judge' ? !state.judge : !ready.length;
      }
      if (state.judge && !state.models.length) view = 'judge';
      const options = state.models.map((model, place) => {
        const option = made('option', '', model.name);
        Object.assign(option, { value: place, disabled: model.state !== 'ready' });
        return option;
      });
      element('first').replaceChildren(...options);
      element('second').replaceChildren(...options.map((option) => option.cloneNode(true)));
      const last = element('second').options.length - 1;
      if (options.length && !options[last].disabled) element('second').selectedIndex = last;
      break;
    }
    await pause(1000);
  }
  if (!ready.length && view !== 'judge') return;
  choose();
  await again();
  element('text').focus();
}

// Shows the conversation as the server has it. An answer that is on its way is waited for.
async function current() {
  while (show(await get('conversation')).busy) await pause(1000);
}

// Goes on with the conversation of this tab, or begins one.
async function again() {
  if (goesOn()) {
    try {
      await current();
      if (view === 'judge') await ballot();
      return;
    } catch (error) {
      if (error.status !== 410) throw error;
      end();
    }
  }
  await open();
}

doing(start);
