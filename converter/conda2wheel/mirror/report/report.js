// The table of all packages: searched, filtered, sorted and opened, with all of that in the address (#search=...&status=...).
// What comes from the report becomes text nodes and nothing else; rows are made as they come into sight.
'use strict';

const STEP = 60; // rows at a time
const data = JSON.parse(document.getElementById('data').textContent);
const at = (id) => document.getElementById(id);
const fields = ['search', 'status', 'code', 'platform'];
const body = at('table').tBodies[0];
const collator = new Intl.Collator('en', { numeric: true });
const marks = { quarantined: (row) => row.quarantined, yanked: (row) => row.yanked, worked: (row) => row.worked };
const titles = { quarantined: 'quarantined', yanked: 'yanked', worked: 'worked on in this run' };

const rows = data.items.map((item, place) => {
  const wheel = item.wheel || {};
  const words = [item.package, item.channel, item.status, item.code, item.message, wheel.filename, wheel.project];
  return {
    item,
    place,
    quarantined: Boolean(item.quarantined),
    yanked: Boolean(item.yanked),
    worked: Boolean(item.worked),
    title: `${item.name} ${wheel.project || ''}`.toLowerCase(),
    text: words.concat(wheel.imports || []).filter(Boolean).join('\n').toLowerCase(),
    requires: (wheel.requires || []).join('\n').toLowerCase(),
    warning: (item.warnings || []).map((pair) => pair.join(': ')).join('\n').toLowerCase(),
    seconds: Object.values(item.seconds || {}).reduce((sum, each) => sum + each, 0),
  };
});
const orders = {
  name: (row) => row.place,
  status: (row) => `${row.item.status} ${row.item.code || ''}`,
  wheel: (row) => (row.item.wheel || {}).filename || '',
  platform: (row) => (row.item.wheel || {}).platform || '',
  size: (row) => (row.item.wheel || {}).size || 0,
  seconds: (row) => row.seconds,
};

let state = {};
let found = [];
let drawn = 0;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function amount(size) {
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (size < 999.5) return `${unit === 'B' || size >= 9.95 ? size.toFixed(0) : size.toFixed(1)} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

const span = (seconds) => (seconds < 1 ? `${seconds.toFixed(2)} s` : `${seconds.toFixed(1)} s`);

// A word must be anywhere; `requires:` and `warning:` say where.
function matches(row, words) {
  return words.every((word) => {
    const [, where, what] = word.match(/^(requires|warning):(.*)$/) || [null, 'text', word];
    return row[where].includes(what);
  });
}

function select() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  found = rows.filter(
    (row) =>
      (!state.status || (marks[state.status] ? marks[state.status](row) : row.item.status === state.status)) &&
      (!state.code || row.item.code === state.code) &&
      (!state.platform || (row.item.wheel || {}).platform === state.platform) &&
      matches(row, words),
  );
  const down = state.sort.startsWith('-');
  const key = orders[state.sort.replace('-', '')];
  if (state.sort === 'name') {
    // Those that are called so come first.
    const rank = (row) => (words.length && row.title.split(' ').some((name) => name.startsWith(words[0])) ? 0 : 1);
    const ranks = new Map(found.map((row) => [row, rank(row)]));
    found.sort((a, b) => ranks.get(a) - ranks.get(b) || a.place - b.place);
  } else {
    const keys = new Map(found.map((row) => [row, key(row)]));
    const compare = (a, b) => (typeof a === 'number' ? a - b : collator.compare(a, b));
    found.sort((a, b) => (down ? -1 : 1) * compare(keys.get(a), keys.get(b)) || a.place - b.place);
  }
}

function cell(label, ...children) {
  const empty = children.every((child) => child === null || child === '');
  const numeric = label === 'Size' || label === 'Time';
  return make('td', { role: 'cell', 'data-label': label, ...(empty && { 'data-empty': '' }), ...(numeric && { class: 'n' }) }, ...children);
}

function blob(wheel) {
  return make('a', { href: data.root + wheel.blob }, wheel.filename);
}

function draw(row) {
  const { item } = row;
  const wheel = item.wheel || null;
  const opener = make('button', { type: 'button', class: 'open', 'aria-expanded': 'false' }, `${item.name} ${item.version}`);
  const name = make('th', { role: 'rowheader', scope: 'row' }, opener, make('small', {}, `${item.subdir} · ${item.build}`));
  const said = [item.code, row.quarantined && 'quarantined', item.yanked && 'yanked'].filter(Boolean).join(', ');
  const line = make(
    'tr',
    { role: 'row', class: 'item' },
    name,
    cell('Status', make('span', { class: `badge ${item.status}` }, item.status), ' ', said ? make('span', { class: 'said' }, said) : null),
    wheel ? cell('Wheel', blob(wheel), item.kept ? ' (kept)' : null) : cell('Why', item.message ? make('span', { class: 'why' }, item.message) : ''),
    cell('Platform', wheel ? wheel.platform : ''),
    cell('Size', wheel ? amount(wheel.size) : ''),
    cell('Time', row.seconds ? span(row.seconds) : ''),
  );
  opener.addEventListener('click', () => {
    const open = !row.detail || !row.detail.isConnected;
    unfold(row, line, open);
    state.open = open ? item.package : '';
    remember();
  });
  if (state.open === item.package) unfold(row, line, true);
  return line;
}

function unfold(row, line, open) {
  line.querySelector('.open').setAttribute('aria-expanded', String(open));
  if (open) {
    row.detail = make('tr', { role: 'row', class: 'detail' }, make('td', { role: 'cell', colspan: '6' }, detail(row)));
    // A line that is not in the table yet brings its detail along when it is: see `extend`.
    if (line.isConnected) line.after(row.detail);
  } else {
    row.detail.remove();
  }
}

function detail(row) {
  const { item } = row;
  const wheel = item.wheel || {};
  const list = make('dl');
  const add = (term, ...what) => what.some(Boolean) && list.append(make('dt', {}, term), make('dd', {}, ...what));
  const each = (values) => (values && values.length ? make('ul', {}, ...values.map((value) => make('li', {}, value))) : null);
  const told = data.codes[item.code];
  add('Message', item.message);
  add('Hint', item.hint);
  if (told && item.status === 'refused') {
    add('Code', make('a', { href: `#code-${item.code}` }, item.code), `: ${told.meaning}. ${told.advice}.`.replaceAll('`', ''));
  }
  add('Attempts', item.attempts && String(item.attempts));
  add('Yanked', item.yanked);
  add('Wheel', item.kept && 'of an earlier conversion; it stays until one succeeds');
  add('Was before', item.was && item.was !== item.status ? item.was : null);
  add('Project', wheel.project && make('a', { href: `simple/${encodeURIComponent(wheel.project)}/` }, wheel.project));
  add('Requires-Python', wheel.requires_python);
  add('Requires', each(wheel.requires));
  add('Imports', (wheel.imports || []).join(', '));
  add('Libraries in it', each(wheel.vendored));
  add('Warnings', each((item.warnings || []).map((pair) => pair.join(': '))));
  add('Time', Object.entries(item.seconds || {}).map(([stage, seconds]) => `${stage} ${span(seconds)}`).join(', '));
  add('Downloaded', item.downloaded && amount(item.downloaded));
  add('Package', item.url ? make('a', { href: item.url, rel: 'noreferrer' }, item.package) : item.package, item.size ? `, ${amount(item.size)}` : null);
  add('sha256', make('code', {}, item.sha256 || ''));
  add('Wheel sha256', wheel.sha256 && make('code', {}, wheel.sha256));
  return list;
}

function extend(until = drawn + STEP) {
  const piece = document.createDocumentFragment();
  for (const row of found.slice(drawn, until)) {
    piece.append(draw(row));
    if (state.open === row.item.package) piece.append(row.detail);
  }
  body.append(piece);
  drawn = Math.min(until, found.length);
  at('more').hidden = drawn >= found.length;
}

function show() {
  select();
  body.replaceChildren();
  drawn = 0;
  const opened = state.open ? found.findIndex((row) => row.item.package === state.open) : -1;
  extend(Math.max(opened, 0) + STEP);
  at('count').textContent = found.length === rows.length ? `${rows.length} packages` : `${found.length} of ${rows.length} packages`;
  for (const button of document.querySelectorAll('[data-sort]')) {
    const mine = state.sort.replace('-', '') === button.dataset.sort;
    const head = button.parentElement;
    if (mine) head.setAttribute('aria-sort', state.sort.startsWith('-') ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
}

// The address: what is not at its default. Written in place, so that typing does not fill the history.
function remember() {
  const told = new URLSearchParams();
  for (const field of [...fields, 'open']) if (state[field]) told.set(field, state[field]);
  if (state.sort !== 'name') told.set('sort', state.sort);
  const text = String(told).replaceAll('+', '%20');
  history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
}

function recall() {
  const told = new URLSearchParams(location.hash.slice(1));
  state = { open: told.get('open') || '' };
  for (const field of fields) {
    at(field).value = told.get(field) || '';
    state[field] = at(field).value; // a choice that is not there is none
  }
  const sort = told.get('sort') || 'name';
  state.sort = Object.hasOwn(orders, sort.replace('-', '')) ? sort : 'name';
}

// Show what the address says, and bring it into sight where it says anything.
function arrive() {
  recall();
  show();
  const opened = body.querySelector('.open[aria-expanded="true"]');
  if (location.hash.includes('=')) (opened ? opened.closest('tr') : at('packages')).scrollIntoView();
}

function start() {
  const count = (values) => values.reduce((all, value) => (value ? all.set(value, (all.get(value) || 0) + 1) : all), new Map());
  const offer = (id, counted, names = {}) => {
    for (const [value, number] of [...counted].sort((a, b) => collator.compare(a[0], b[0]))) {
      at(id).append(make('option', { value }, `${names[value] || value} (${number})`));
    }
  };
  offer('status', count(rows.map((row) => row.item.status)));
  for (const [mark, holds] of Object.entries(marks)) offer('status', count(rows.map((row) => holds(row) && mark)), titles);
  offer('code', count(rows.map((row) => row.item.code)));
  offer('platform', count(rows.map((row) => (row.item.wheel || {}).platform)));
  at('filter').hidden = false;
  at('table').hidden = false;

  const changed = () => {
    for (const field of fields) state[field] = at(field).value;
    state.open = '';
    show();
    remember();
  };
  for (const field of fields) at(field).addEventListener('input', changed);
  at('filter').addEventListener('submit', (event) => event.preventDefault());
  at('filter').addEventListener('reset', () => setTimeout(changed)); // the fields are empty after the event
  for (const button of document.querySelectorAll('[data-sort]')) {
    button.addEventListener('click', () => {
      const key = button.dataset.sort;
      const first = key === 'size' || key === 'seconds' ? `-${key}` : key;
      const other = first.startsWith('-') ? key : `-${key}`;
      state.sort = state.sort === first ? other : first;
      show();
      remember();
    });
  }
  at('more').addEventListener('click', () => extend());
  const watcher = new IntersectionObserver(
    (seen) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      extend();
      watcher.unobserve(at('more')); // it tells of changes only, and the button may still be in sight
      watcher.observe(at('more'));
    },
    { rootMargin: '0px 0px 600px 0px' },
  );
  watcher.observe(at('more'));
  window.addEventListener('hashchange', () => {
    if (!location.hash.includes('=')) return; // a place in the page
    arrive();
  });
  arrive();
}

start();
