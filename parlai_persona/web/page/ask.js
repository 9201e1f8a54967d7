// How the page asks the server.

const token = new URLSearchParams(location.search).get('token');
const KEPT = 'parlai-persona conversation'; // of this tab, so that a reload goes on with it

export const keep = (id) => sessionStorage.setItem(KEPT, id);
export const end = () => sessionStorage.removeItem(KEPT);
export const goesOn = () => sessionStorage.getItem(KEPT) !== null;

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// The server may have gone on with what was asked.
export class Broken extends Refused {}

export async function ask(name, sent) {
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

export const get = async (name, sent) => (await ask(name, sent)).json();

export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Broken(0, 'The connection broke before the answer was complete.');
    });
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice('data: '.length));
  }
}
