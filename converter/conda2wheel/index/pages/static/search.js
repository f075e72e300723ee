// The search page: the filters and the order of conda2wheel.index.pages.ranking, over the rows that the page has.
// The view is in the address. Rows that do not fit are taken out of the page; those that fit come in portions.
'use strict';

const WHOLE = 1000, NAME = 100, IMPORT = 80, BEGINS = 60, PART = 40, INSIDE = 25, WORD = 10, TEXT = 3;
const GROUPS = { runs: 0, partly: 0, programs: 0, nowhere: 1, pending: 1, failed: 1, refused: 2 };
const STATES = ['runs', 'partly', 'programs', 'nowhere', 'pending', 'failed', 'refused'];
const PORTION = 120;

const normalise = (text) => text.toLowerCase().replace(/[-_.]+/g, '-');
const wordsOf = (query) => query.split(/\s+/).map((each) => normalise(each).replace(/^-+|-+$/g, '')).filter(Boolean);

function ofName(word, name) {
  if (name === word) return NAME;
  if (name.startsWith(word)) return BEGINS;
  return name.includes(`-${word}`) ? PART : name.includes(word) ? INSIDE : 0;
}

const ofImport = (word, name) => (name === word ? IMPORT : name.startsWith(word) ? INSIDE : 0);

/** How well words match a row; 0 where one of them does not. */
function score(words, row) {
  let total = row.names.includes(words.join('-')) ? WHOLE : 0;
  for (const word of words) {
    let best = 0;
    for (const name of row.names) best = Math.max(best, ofName(word, name));
    for (const name of row.imports) best = Math.max(best, ofImport(word, name));
    const spaced = word.replaceAll('-', ' ');
    if (best < WORD) best = Math.max(best, row.text.includes(` ${spaced}`) ? WORD : row.text.includes(spaced) ? TEXT : 0);
    if (!best) return 0;
    total += best;
  }
  return total;
}

function fits(row, query) {
  if (query.state && row.state !== query.state) return false;
  if (query.pyodide && !row.runs.includes(query.pyodide)) return false;
  if (query.platform && !row.platforms.includes(query.platform)) return false;
  const lacks = query.lacks.split(',');
  if (lacks.includes('pyodide') && row.own.length && (!query.pyodide || row.own.includes(query.pyodide))) return false;
  return !(lacks.includes('pypi') && row.pypi);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const ORDERS = {
  name: (row) => row.name,
  state: (row) => STATES.indexOf(row.state),
  updated: (row) => row.updated,
  size: (row) => row.size,
};

/** The rows of a view, in its order. */
function search(rows, query) {
  const words = wordsOf(query.q);
  const found = [];
  for (const row of rows) {
    if (!fits(row, query)) continue;
    const points = words.length ? score(words, row) : 1;
    if (points) found.push([points, row]);
  }
  const order = Object.hasOwn(ORDERS, query.sort.replace(/^-/, '')) ? ORDERS[query.sort.replace(/^-/, '')] : null;
  const sign = query.sort.startsWith('-') ? -1 : 1;
  found.sort(
    ([points, a], [others, b]) =>
      (order ? sign * compare(order(a), order(b)) : query.sort ? 0 : others - points) ||
      GROUPS[a.state] - GROUPS[b.state] ||
      compare(a.name, b.name),
  );
  return found.map(([, row]) => row);
}

function rowOf(element) {
  const { state, runs = '', platform = '', own = '', imports = '', size = '0', updated = '0' } = element.dataset;
  const [head, , summary] = element.children;
  const project = head.querySelector('small');
  const name = (head.querySelector('a') ?? head.firstChild).textContent.trim();
  const list = (text) => (text ? text.split(' ') : []);
  return {
    element, name, state,
    names: [name, ...(project ? [project.textContent] : [])].map(normalise),
    imports: list(imports).map(normalise),
    text: ` ${((state === 'runs' ? summary : summary.querySelector('span'))?.textContent ?? '').trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ')}`,
    runs: list(runs), platforms: list(platform), own: list(own), pypi: 'pypi' in element.dataset,
    size: Number(size), updated: Number(updated),
  };
}

function start() {
  const form = document.getElementById('search');
  const body = document.querySelector('.packages tbody');
  const count = document.getElementById('count');
  const more = document.getElementById('more');
  const clear = form.querySelector('[data-clear]');
  const rows = [...body.children].map(rowOf);
  const names = [...form.elements].map((each) => each.name).filter(Boolean);
  let found = [];
  let shown = 0;
  for (const row of rows) row.element.hidden = false;
  document.documentElement.classList.add('script');

  const read = () => ({ q: '', state: '', pyodide: '', platform: '', lacks: '', sort: '', ...Object.fromEntries(new FormData(form)) });

  function address(query) {
    const values = new URLSearchParams();
    for (const name of names) if (query[name]) values.set(name, query[name]);
    const text = values.toString();
    return text ? `?${text}` : location.pathname;
  }

  function portion() {
    body.append(...found.slice(shown, shown + PORTION).map((row) => row.element));
    shown = Math.min(shown + PORTION, found.length);
    more.hidden = shown >= found.length;
  }

  function show() {
    const query = read();
    found = search(rows, query);
    shown = 0;
    body.replaceChildren();
    portion();
    const number = (value) => value.toLocaleString('en').replaceAll(',', '\u202f');
    count.textContent = `${number(found.length)} ${found.length === rows.length ? '' : `of ${number(rows.length)} `}packages`;
    clear.hidden = address(query) === location.pathname;
    for (const head of document.querySelectorAll('.packages [data-sort]')) {
      const by = query.sort.replace(/^-/, '') === head.dataset.sort;
      if (by) head.setAttribute('aria-sort', query.sort.startsWith('-') ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }

  /** Fill the form from the address; what no field offers is left out. */
  function fill() {
    const given = new URLSearchParams(location.search);
    for (const name of names) {
      const field = form.elements[name];
      field.value = given.get(name) ?? '';
      if (field.selectedIndex === -1) field.selectedIndex = 0;
    }
    if (!Object.hasOwn(ORDERS, form.elements.sort.value.replace(/^-/, ''))) form.elements.sort.value = '';
    show();
  }

  function change(push) {
    show();
    history[push ? 'pushState' : 'replaceState'](null, '', address(read()));
  }

  for (const head of document.querySelectorAll('.packages [data-sort]')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    const { sort, first = '' } = head.dataset;
    const [one, other] = first ? [`-${sort}`, sort] : [sort, `-${sort}`];
    button.addEventListener('click', () => {
      const now = form.elements.sort.value;
      form.elements.sort.value = now === one ? other : now === other ? '' : one;
      change(true);
    });
  }
  form.elements.q.addEventListener('input', () => change(false));
  form.addEventListener('change', (event) => event.target !== form.elements.q && change(true));
  form.addEventListener('submit', (event) => event.preventDefault());
  clear.addEventListener('click', (event) => {
    event.preventDefault();
    for (const name of names) form.elements[name].value = '';
    change(true);
    form.elements.q.focus();
  });
  document.querySelector('.lede').addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="?"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, '', link.href);
    fill();
  });
  more.addEventListener('click', portion);
  new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && !more.hidden && portion(), {
    rootMargin: '600px',
  }).observe(more);
  addEventListener('popstate', fill);
  fill();
}

if (typeof document === 'undefined') globalThis.ranking = { search, normalise, wordsOf };
else start();
