// The table of all packages: search, filters, order and the open row, all of them in the address (#search=...&status=...).
// Text from the report is only ever set as text nodes; rows are created as they scroll into view.
'use strict';

const STEP = 60; // rows created at a time
const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const fields = ['search', 'status', 'code', 'platform'];
const body = byId('table').tBodies[0];
const collator = new Intl.Collator('en', { numeric: true });
const marks = {
  quarantined: (row) => row.quarantined,
  yanked: (row) => row.yanked,
  worked: (row) => row.worked,
  runs_except: (row) => row.unusable.length > 0,
};
const titles = {
  quarantined: 'quarantined',
  yanked: 'yanked',
  worked: 'worked on in this run',
  runs_except: 'runs except for a part',
};

const rows = data.items.map((item, place) => {
  const wheel = item.wheel || {};
  const words = [item.package, item.channel, item.status, item.code, item.message, wheel.filename, wheel.project];
  return {
    item,
    place,
    quarantined: Boolean(item.quarantined),
    yanked: Boolean(item.yanked),
    worked: Boolean(item.worked),
    unusable: wheel.unusable || [],
    title: `${item.name} ${wheel.project || ''}`.toLowerCase(),
    text: words.concat(wheel.imports || []).filter(Boolean).join('\n').toLowerCase(),
    requires: (wheel.requires || []).join('\n').toLowerCase(),
    warning: (item.warnings || [])
      .concat((wheel.unusable || []).map((part) => [part.code, part.message]))
      .map((pair) => pair.join(': '))
      .join('\n')
      .toLowerCase(),
    seconds: Object.values(item.seconds || {}).reduce((sum, each) => sum + each, 0),
  };
});
const platformsOf = (row) => ((row.item.wheel || {}).platform || '').split('.'); // a wheel may have the tags of several
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

// Every word must occur in the row's text; `requires:` and `warning:` search those fields alone.
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
      (!state.platform || platformsOf(row).includes(state.platform)) &&
      matches(row, words),
  );
  const down = state.sort.startsWith('-');
  const key = orders[state.sort.replace('-', '')];
  if (state.sort === 'name') {
    // Rows whose name begins with the first word come first.
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
  const partly = row.unusable.length ? 'runs except for a part' : '';
  const labels = [item.code, row.quarantined && 'quarantined', item.yanked && 'yanked', partly].filter(Boolean).join(', ');
  const line = make(
    'tr',
    { role: 'row', class: 'item' },
    name,
    cell('Status', make('span', { class: `badge ${item.status}` }, item.status), ' ', labels ? make('span', { class: 'said' }, labels) : null),
    wheel ? cell('Wheel', blob(wheel), item.kept ? ' (kept)' : null) : cell('Why', item.message ? make('span', { class: 'why' }, item.message) : ''),
    cell('Platform', wheel ? wheel.platform : ''),
    cell('Size', wheel ? amount(wheel.size) : ''),
    cell('Time', row.seconds ? span(row.seconds) : ''),
  );
  opener.addEventListener('click', () => {
    const open = !row.detail || !row.detail.isConnected;
    setOpen(row, line, open);
    state.open = open ? item.package : '';
    writeAddress();
  });
  if (state.open === item.package) setOpen(row, line, true);
  return line;
}

function setOpen(row, line, open) {
  line.querySelector('.open').setAttribute('aria-expanded', String(open));
  if (open) {
    row.detail = make('tr', { role: 'row', class: 'detail' }, make('td', { role: 'cell', colspan: '6' }, detail(row)));
    // `extend` adds the detail of a line that is not in the table yet.
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
  const code = data.codes[item.code];
  add('Message', item.message);
  add('Hint', item.hint);
  if (code && item.status === 'refused') {
    add('Code', make('a', { href: `#code-${item.code}` }, item.code), `: ${code.meaning}. ${code.advice}.`.replaceAll('`', ''));
  }
  add('Attempts', item.attempts && String(item.attempts));
  add('Yanked', item.yanked);
  add('Wheel', item.kept && 'from an earlier conversion, until one succeeds again');
  add('Status before', item.was && item.was !== item.status ? item.was : null);
  add('Project', wheel.project && make('a', { href: `simple/${encodeURIComponent(wheel.project)}/` }, wheel.project));
  add('Requires-Python', wheel.requires_python);
  add('Requires', each(wheel.requires));
  add('Imports', (wheel.imports || []).join(', '));
  add('Vendored libraries', each(wheel.vendored));
  add('Does not run', each(row.unusable.map((part) => `${part.module}: ${part.message}`)));
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
  byId('more').hidden = drawn >= found.length;
}

function show() {
  select();
  body.replaceChildren();
  drawn = 0;
  const opened = state.open ? found.findIndex((row) => row.item.package === state.open) : -1;
  extend(Math.max(opened, 0) + STEP);
  byId('count').textContent = found.length === rows.length ? `${rows.length} packages` : `${found.length} of ${rows.length} packages`;
  for (const button of document.querySelectorAll('[data-sort]')) {
    const mine = state.sort.replace('-', '') === button.dataset.sort;
    const head = button.parentElement;
    if (mine) head.setAttribute('aria-sort', state.sort.startsWith('-') ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
}

// Write to the address what differs from its default, replacing the entry so that typing does not fill the history.
function writeAddress() {
  const parameters = new URLSearchParams();
  for (const field of [...fields, 'open']) if (state[field]) parameters.set(field, state[field]);
  if (state.sort !== 'name') parameters.set('sort', state.sort);
  const text = String(parameters).replaceAll('+', '%20');
  history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
}

function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  state = { open: parameters.get('open') || '' };
  for (const field of fields) {
    byId(field).value = parameters.get(field) || '';
    state[field] = byId(field).value; // an unknown choice selects none
  }
  const sort = parameters.get('sort') || 'name';
  state.sort = Object.hasOwn(orders, sort.replace('-', '')) ? sort : 'name';
}

// Show what the address says, and scroll to it if it says anything.
function showAddress() {
  readAddress();
  show();
  const opened = body.querySelector('.open[aria-expanded="true"]');
  if (location.hash.includes('=')) (opened ? opened.closest('tr') : byId('packages')).scrollIntoView();
}

function start() {
  const count = (values) => values.reduce((all, value) => (value ? all.set(value, (all.get(value) || 0) + 1) : all), new Map());
  const offer = (id, counted, names = {}) => {
    for (const [value, number] of [...counted].sort((a, b) => collator.compare(a[0], b[0]))) {
      byId(id).append(make('option', { value }, `${names[value] || value} (${number})`));
    }
  };
  offer('status', count(rows.map((row) => row.item.status)));
  for (const [mark, holds] of Object.entries(marks)) offer('status', count(rows.map((row) => holds(row) && mark)), titles);
  offer('code', count(rows.map((row) => row.item.code)));
  offer('platform', count(rows.flatMap(platformsOf)));
  byId('filter').hidden = false;
  byId('table').hidden = false;

  const changed = () => {
    for (const field of fields) state[field] = byId(field).value;
    state.open = '';
    show();
    writeAddress();
  };
  for (const field of fields) byId(field).addEventListener('input', changed);
  byId('filter').addEventListener('submit', (event) => event.preventDefault());
  byId('filter').addEventListener('reset', () => setTimeout(changed)); // the fields are empty after the event
  for (const button of document.querySelectorAll('[data-sort]')) {
    button.addEventListener('click', () => {
      const key = button.dataset.sort;
      const first = key === 'size' || key === 'seconds' ? `-${key}` : key;
      const other = first.startsWith('-') ? key : `-${key}`;
      state.sort = state.sort === first ? other : first;
      show();
      writeAddress();
    });
  }
  byId('more').addEventListener('click', () => extend());
  const watcher = new IntersectionObserver(
    (seen) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      extend();
      watcher.unobserve(byId('more')); // it reports changes only, and the button may still be in view
      watcher.observe(byId('more'));
    },
    { rootMargin: '0px 0px 600px 0px' },
  );
  watcher.observe(byId('more'));
  window.addEventListener('hashchange', () => {
    if (!location.hash.includes('=')) return; // an anchor in the page
    showAddress();
  });
  showAddress();
}

start();
