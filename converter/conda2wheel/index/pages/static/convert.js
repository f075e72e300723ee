// The page on which a file or a package of the channel is converted, by the service's API.
//
// POST api/v1/jobs?kind=convert with a file as it is and its `filename`, or with `spec`, answers {id, state, stage, events}. The
// job's events come as server-sent events; the job's `result` is the document of `conda2wheel convert --json`.
'use strict';

const API = new URL(`${document.body.dataset.root}api/v1/`, location.href).href;
const STAGES = ['queued', 'open', 'read', 'plan', 'link', 'audit', 'write'];
const ENDED = ['done', 'failed', 'refused', 'cancelled'];
const PAUSE = 2000; // ms between two questions, where events do not come

const element = (id) => document.getElementById(id);
const form = element('convert');
const drop = element('drop');
let running = 0;

function make(name, content, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...[content].flat());
  return made;
}

function headers() {
  const token = form.elements.token.value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** What an answer that is no success says, in one sentence. */
async function problem(answer) {
  const said = await answer.json().catch(() => null);
  const why = said?.message ?? (typeof said?.detail === 'string' ? said.detail : said?.detail?.message);
  const words = {
    401: 'This server wants a token.', 403: 'This token does not allow conversions.', 413: 'The file is too large for this server.',
    429: 'Too many requests. Try again later.', 503: 'The service is busy or down. Try again later.',
  };
  return [words[answer.status] ?? `The server answered ${answer.status}.`, why].filter(Boolean).join(' ');
}

function show(job) {
  const list = element('stages');
  const now = ENDED.includes(job.state) ? STAGES.length : Math.max(0, STAGES.indexOf(job.stage ?? job.state));
  if (job.stage && !STAGES.includes(job.stage) && !ENDED.includes(job.stage)) element('job-state').textContent = job.stage;
  else element('job-state').textContent = ENDED.includes(job.state) ? '' : `${job.state}${job.stage ? `: ${job.stage}` : ''}`;
  const bad = job.state === 'failed' || job.state === 'refused';
  const reached = bad ? Math.max(0, STAGES.indexOf(job.stage)) : now;
  list.replaceChildren(
    ...STAGES.map((name, number) => {
      const state = number < reached ? 'done' : number > reached ? '' : bad ? 'bad' : number === now ? 'now' : 'done';
      const item = make('li', name, { className: state });
      if (state === 'now') item.setAttribute('aria-current', 'step');
      return item;
    }),
  );
}

function webAddress(text) {
  try {
    const url = new URL(text, API);
    return ['http:', 'https:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function lines(title, texts) {
  return texts.length ? [make('h3', title), make('ul', texts.map((each) => make('li', each)), { className: 'result-list' })] : [];
}

function showResult(job) {
  const results = job.result?.results ?? [];
  const parts = [];
  for (const each of results) {
    const bad = each.code ? ` (${each.code})` : '';
    parts.push(make('p', `${each.status}${bad}${each.message ? `: ${each.message}` : ''}`, { className: `verdict ${each.status === 'converted' ? 'runs' : 'failed'}` }));
    if (each.hint) parts.push(make('p', each.hint, { className: 'note' }));
    const url = webAddress(each.url ?? each.wheel);
    if (url && each.filename) {
      parts.push(make('p', make('a', `Download ${each.filename}`, { className: 'button', href: url, download: each.filename })));
    }
    if (each.platform) parts.push(make('p', `For ${each.platform}${each.evidence?.length ? `, because: ${each.evidence.join('; ')}` : ''}.`, { className: 'note' }));
    parts.push(
      ...lines('What does not run', (each.unusable ?? []).map((part) => `${part.module}: ${part.message}`)),
      ...lines('Warnings', (each.warnings ?? []).map((warning) => `${warning.message} [${warning.code}]`)),
      ...lines('Vendored', (each.vendored ?? []).map((library) => `${library.name} from ${library.from}`)),
      ...lines('Findings of the audit', (each.findings ?? []).map((finding) => `${finding.severity}: ${finding.module ?? ''} ${finding.message} [${finding.code}]`)),
      ...lines('Required', each.requires ?? []),
    );
  }
  if (!results.length) parts.push(make('p', job.message ?? `The job ended: ${job.state}.`, { className: 'verdict failed' }));
  element('result').replaceChildren(...parts);
  element('raw').hidden = false;
  element('raw').querySelector('pre').textContent = JSON.stringify(job, null, 1);
}

function fail(message) {
  element('job-state').textContent = '';
  element('stages').replaceChildren();
  element('result').replaceChildren(make('p', message, { className: 'verdict failed' }));
}

/** The data of each server-sent event of a response, as JSON. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replaceAll('\r\n', '\n');
    const found = text.split('\n\n');
    text = found.pop();
    for (const event of found) {
      const data = event.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart()).join('\n');
      if (data) yield JSON.parse(data);
    }
  }
}

async function follow(job, turn) {
  const url = new URL(`jobs/${encodeURIComponent(job.id)}`, API).href;
  let now = job;
  while (!ENDED.includes(now.state)) {
    const answer = await fetch(`${url}/events`, { headers: { ...headers(), Accept: 'text/event-stream' } });
    if (answer.ok && answer.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      for await (const event of events(answer)) {
        if (turn !== running) return null;
        now = { ...now, ...event };
        show(now);
        if (ENDED.includes(now.state)) break;
      }
    }
    const asked = await fetch(url, { headers: headers() });
    if (!asked.ok) throw new Error(await problem(asked));
    now = await asked.json();
    if (turn !== running) return null;
    show(now);
    if (!ENDED.includes(now.state)) await new Promise((done) => setTimeout(done, PAUSE));
  }
  if (now.result) return now;
  const asked = await fetch(url, { headers: headers() });
  if (!asked.ok) throw new Error(await problem(asked));
  return asked.json();
}

async function convert(title, query, body) {
  const turn = ++running;
  element('job').hidden = false;
  element('job-title').textContent = title;
  element('raw').hidden = true;
  element('result').replaceChildren();
  show({ state: 'queued' });
  try {
    const answer = await fetch(`${API}jobs?${new URLSearchParams({ kind: 'convert', ...query })}`, { method: 'POST', headers: headers(), body });
    if (!answer.ok) {
      fail(await problem(answer));
      return;
    }
    const job = await answer.json();
    show(job);
    const ended = await follow(job, turn);
    if (ended) {
      show(ended);
      showResult(ended);
    }
  } catch (error) {
    if (turn === running) fail(error instanceof TypeError ? 'The server does not answer. Try again later.' : error.message);
  }
}

const convertFile = (file) => convert(file.name, { filename: file.name }, file);

form.hidden = false;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  const spec = form.elements.spec.value.trim();
  if (spec) convert(spec, { spec });
  else form.elements.spec.focus();
});
element('file').addEventListener('change', ({ target }) => target.files[0] && convertFile(target.files[0]));
for (const name of ['dragover', 'dragenter']) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
}
drop.addEventListener('dragleave', () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  drop.classList.remove('over');
  if (event.dataTransfer.files[0]) convertFile(event.dataTransfer.files[0]);
});
const spec = new URLSearchParams(location.search).get('spec');
if (spec) form.elements.spec.value = spec;
