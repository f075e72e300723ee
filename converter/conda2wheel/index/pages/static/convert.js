// The page on which a file or a package of the channel is converted, by the service's API (docs/reference/commands/serve.md).
//
// A job's events come as server-sent events; the last one is the job with its `result`: of an upload the documents of `convert` or
// `repair` and of `audit`, of a package of the channel what the mirror records of it, or a code and a message where its worker died.
'use strict';

const API = new URL(`${document.body.dataset.root}api/v1/`, location.href).href;
const STAGES = { upload: ['sent', 'queued', 'open', 'link', 'audit', 'write', 'report'], channel: ['queued', 'running'] };
const ENDED = ['done', 'failed', 'refused', 'cancelled'];
const DONE = { convert: 'Converted.', repair: 'Repaired.', audit: 'Audited.' };
const VERDICTS = { runs: 'runs', 'runs-except': 'runs in part', 'does-not-load': 'does not load' };
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

const token = () => form.elements.token.value.trim();
const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

/** Take the token that the service printed with the page's address, and leave it in no history. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  form.elements.token.value = given;
  history.replaceState(history.state, '', location.pathname + location.search);
}

class Said extends Error {} // in words for who reads the page
class Away extends Said {} // the server does not answer, or ended in the middle of an answer

/** An answer of the API. A mistake of this page is a TypeError, too, so that only `fetch`'s own is taken for the server's. */
async function ask(url, options) {
  try {
    return await fetch(url, options);
  } catch {
    throw new Away('The server does not answer. Try again later.');
  }
}

/** What an answer that is no success says, in plain words. */
async function problem(answer) {
  const said = await answer.json().catch(() => null);
  const detail = Array.isArray(said?.detail) ? said.detail.map((each) => each.msg).join('; ') : said?.detail;
  const words = {
    401: token() ? 'The server does not take this token.' : 'This server wants a token for that.',
    403: 'This token, or this server, does not permit that.', 408: 'It took too long.', 413: 'The file is too large for this server.',
    415: 'This is neither a package nor a wheel.', 429: 'That is too much at once.', 503: 'The server cannot do it now.',
  };
  const wait = Number(answer.headers.get('Retry-After'));
  const again = wait ? `Try again in ${wait} s.` : answer.status === 503 ? 'Try again later.' : '';
  if (answer.status === 401) {
    element('token').open = true;
    form.elements.token.focus();
  }
  const known = words[answer.status] ?? (typeof detail === 'string' ? '' : `The server answered ${answer.status}.`);
  return [known, typeof detail === 'string' ? sentence(detail) : '', again].filter(Boolean).join(' ');
}

/** Light up the stages until the one that a job is in; `last` is that in which it ended badly. */
function show(job, last) {
  const stages = STAGES[job.source];
  const ended = ENDED.includes(job.status);
  const bad = ended && job.status !== 'done';
  const at = Math.max(...[last, job.stage, job.status].map((name) => stages.indexOf(name)), 0);
  const reached = ended && !bad ? stages.length : at;
  element('job-state').textContent = ended ? '' : { sending: 'Sending the file …', queued: 'Waiting for its turn …' }[job.status] ?? 'Working …';
  element('stages').replaceChildren(
    ...stages.map((name, number) => {
      const state = number < reached ? 'done' : number > reached ? '' : bad ? 'bad' : 'now';
      const item = make('li', name, { className: state });
      if (state === 'now') item.setAttribute('aria-current', 'step');
      return item;
    }),
  );
  return stages[at];
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

const verdict = (text, className) => make('p', text, { className: `verdict ${className}` });
const coded = (each) => `${each.message} [${each.code}]`;

/** What the command line says of a package or a wheel, or what the mirror records of it. */
function report(each) {
  const reasons = each.evidence?.length ? `, because: ${each.evidence.join('; ')}` : '';
  const warnings = (each.warnings ?? []).map((one) => (Array.isArray(one) ? { code: one[0], message: one[1] } : one));
  return [
    ...(each.platform ? [make('p', `For ${each.platform}${reasons}.`, { className: 'note' })] : []),
    ...lines('What does not run', (each.unusable ?? []).map((part) => `${part.module}: ${part.message}`)),
    ...lines('Warnings', warnings.map(coded)),
    ...lines('Vendored', (each.vendored ?? []).map((one) => (typeof one === 'string' ? one : `${one.name} from ${one.from}`))),
    ...lines('Required', each.requires ?? []),
  ];
}

/** What the audit says: where it runs, what it found, and of each Pyodide the first reason. */
function audit(each) {
  if (each.code) return [verdict(`The audit failed (${each.code}): ${sentence(each.message)}`, 'failed')];
  const runs = (each.matrix ?? []).filter((row) => row.runs).map((row) => row.pyodide);
  const where = each.pyodides?.join(', ') || each.pyodide;
  const words = `${VERDICTS[each.verdict] ?? each.verdict}${where ? ` in Pyodide ${where}` : ''}`;
  const name = (row) => `${row.pyodide}: ${VERDICTS[row.verdict] ?? row.verdict}${row.reason ? `: ${row.module ?? ''} ${row.reason}` : ''}`;
  const matrix = (each.matrix ?? []).map((row) => make('li', name(row)));
  return [
    verdict(`The audit: ${words}.`, each.verdict === 'runs' ? 'runs' : each.ok ? 'partly' : 'failed'),
    ...(runs.length ? [make('p', `Runs in ${runs.join(', ')}.`, { className: 'note' })] : []),
    ...lines('Findings', (each.findings ?? []).map((one) => `${one.severity}: ${one.module ?? ''} ${coded(one)}`)),
    ...(matrix.length ? [make('details', [make('summary', 'Each Pyodide'), make('ul', matrix, { className: 'result-list' })])] : []),
  ];
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function showResult(job) {
  const result = job.result ?? {};
  const results = result.document?.results ?? [];
  const said = results[0] ?? result;
  const parts = [];
  if (job.status === 'done') parts.push(verdict(DONE[result.command ?? job.kind], 'runs'));
  else {
    const why = said.message ? `: ${sentence(said.message)}` : '.';
    parts.push(verdict(`${sentence(job.status).slice(0, -1)}${said.code ? ` (${said.code})` : ''}${why}`, 'failed'));
    if (said.hint) parts.push(make('p', sentence(said.hint), { className: 'note' }));
  }
  const wheel = result.wheel ?? {};
  const href = job.links.wheel && webAddress(job.links.wheel);
  if (href) {
    const button = make('a', `Download ${wheel.filename}`, { className: 'button', href, download: wheel.filename });
    parts.push(make('p', [button, ` ${size(wheel.size)}`]));
  }
  if (job.status === 'done') {
    const audits = result.command === 'audit' ? results : (result.audit?.results ?? []);
    const reports = result.command === 'audit' ? [] : result.document ? results : [result.wheel ? { ...result.wheel, warnings: result.warnings } : result];
    parts.push(...audits.flatMap(audit), ...reports.flatMap(report));
  }
  element('result').replaceChildren(...parts);
  element('raw').hidden = false;
  element('raw').querySelector('pre').textContent = JSON.stringify(job, null, 1);
}

/** Say why nothing came of it; `again` does the same once more, with the token that is there then. */
function fail(message, again) {
  element('job-state').textContent = '';
  element('stages').replaceChildren();
  const button = make('button', 'Try again', { type: 'button' });
  button.addEventListener('click', again);
  element('result').replaceChildren(make('p', message, { className: 'verdict failed' }), make('p', button, { className: 'actions' }));
}

/** The number and the data, as JSON, of each server-sent event of a response, until it ends or breaks off. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true }));
      if (done) return;
      text = (text + value).replaceAll('\r\n', '\n');
      const found = text.split('\n\n');
      text = found.pop();
      for (const event of found) {
        const field = (name) => event.split('\n').filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart()).join('\n');
        if (field('data')) yield { number: field('id'), data: JSON.parse(field('data')) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Why there is nothing of a job: a server that starts, or a proxy before one that is away, is asked again. */
async function unanswered(answer) {
  const words = await problem(answer);
  return answer.status >= 500 ? new Away(words) : new Said(words);
}

/** Show a job until it has ended, by its events; where they break off, go on after the last. Returns null for one that is left. */
async function follow(job, turn) {
  const url = new URL(`jobs/${encodeURIComponent(job.id)}`, API).href;
  let [now, last, number] = [job, 'queued', ''];
  for (;;) {
    try {
      const after = number ? { 'Last-Event-ID': number } : {};
      const answer = await ask(`${url}/events`, { headers: { ...headers(), ...after } });
      if (!answer.ok) throw await unanswered(answer);
      for await (const event of events(answer)) {
        if (turn !== running) return null;
        number = event.number;
        const { event: name, ...told } = event.data; // {event, stage}, {event}, or the whole job
        now = { ...now, ...(name && name !== 'stage' ? { status: name } : {}), ...told };
        last = show(now, last);
      }
      if (ENDED.includes(now.status) && now.result) return now;
      const asked = await ask(url, { headers: headers() });
      if (!asked.ok) throw await unanswered(asked);
      now = await asked.json();
      if (turn !== running) return null;
      last = show(now, last);
      if (ENDED.includes(now.status)) return now;
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      if (turn !== running) return null;
      element('job-state').textContent = 'The server does not answer. It keeps the job, and is asked again …';
    }
    await new Promise((done) => setTimeout(done, PAUSE));
    if (turn !== running) return null;
  }
}

async function convert(title, source, query, body, type) {
  const turn = ++running;
  const again = () => convert(title, source, query, body, type);
  element('job').hidden = false;
  element('job-title').textContent = title;
  element('raw').hidden = true;
  element('result').replaceChildren();
  if (/[^\x21-\x7e]/.test(token())) {
    fail('This is no token: it has spaces or other characters that none has.', again);
    return;
  }
  show({ source, status: source === 'upload' ? 'sending' : 'queued' });
  try {
    const answer = await ask(`${API}jobs?${new URLSearchParams(query)}`, { method: 'POST', headers: { ...headers(), 'Content-Type': type }, body });
    if (turn !== running) return;
    if (!answer.ok) {
      fail(await problem(answer), again);
      return;
    }
    const job = await answer.json();
    if (turn !== running) return;
    show(job);
    const ended = await follow(job, turn);
    if (ended) showResult(ended);
  } catch (error) {
    if (turn === running) fail(error.message, again);
    if (!(error instanceof Said)) throw error; // a mistake of this page: the console has it
  }
}

const convertSpec = (spec) => convert(spec, 'channel', {}, JSON.stringify({ spec }), 'application/json');
const convertFile = (file) => convert(file.name, 'upload', { filename: file.name }, file, 'application/octet-stream');

form.hidden = false;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  const spec = form.elements.spec.value.trim();
  if (spec) convertSpec(spec);
  else form.elements.spec.focus();
});
element('file').addEventListener('change', ({ target }) => {
  const [file] = target.files;
  target.value = ''; // the same file, chosen again, is no change otherwise
  if (file) convertFile(file);
});
addEventListener('hashchange', takeToken);
takeToken();
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
