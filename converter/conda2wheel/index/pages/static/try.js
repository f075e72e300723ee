// The page on which a package is tried: it starts a worker with a Pyodide, and shows what comes from it.
'use strict';

const at = (path) => new URL(`${document.body.dataset.root}${path}`, location.href).href;
const element = (id) => document.getElementById(id);
const LINES = 5000; // of output, after which the first are dropped
const STEPS = { pyodide: 'Start Pyodide', micropip: 'Load micropip', install: 'Install' };

const form = element('choose');
const output = element('output');
let worker = null;
let ready = false;

function print(line, kind) {
  const span = document.createElement('span');
  span.textContent = `${line}\n`;
  if (kind) span.className = kind;
  output.append(span);
  while (output.childElementCount > LINES) output.firstElementChild.remove();
  output.scrollTop = output.scrollHeight;
}

const CRASHED = 'The interpreter has crashed. This is no error of Python’s: nothing runs in it any more until you restart it.';

function crash(message, words = CRASHED) {
  const box = element('crash');
  const said = document.createElement('pre');
  said.textContent = message.slice(0, 4000);
  box.replaceChildren(words, said);
  box.hidden = false;
  enable(false);
  worker?.terminate();
  worker = null;
}

function enable(whether) {
  ready = whether;
  element('run').disabled = element('smoke').disabled = !whether;
}

const size = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function steps(version, project) {
  const words = { ...STEPS, pyodide: `Start Pyodide ${version}`, install: `Install ${project}` };
  element('steps').replaceChildren(
    ...Object.entries(words).map(([name, label]) => {
      const item = document.createElement('li');
      item.dataset.step = name;
      item.textContent = label;
      return item;
    }),
  );
}

function start(version, wheel) {
  worker?.terminate();
  enable(false);
  element('crash').hidden = true;
  output.replaceChildren();
  element('measures').textContent = '';
  steps(version, wheel.project);
  const started = new Worker(element('lab').dataset.worker, { type: 'module' });
  worker = started;
  started.addEventListener('error', (event) => {
    event.preventDefault();
    if (worker === started) crash(event.message || 'the worker could not be loaded', 'Pyodide could not be started.');
  });
  started.addEventListener('message', ({ data }) => {
    if (worker !== started) return;
    if (data.step) {
      const item = element('steps').querySelector(`[data-step="${data.step}"]`);
      item.className = data.state;
      if (data.state === 'now') item.setAttribute('aria-current', 'step');
      else item.removeAttribute('aria-current');
    } else if ('out' in data) print(data.out);
    else if ('error' in data) print(data.error, 'error');
    else if ('crash' in data) crash(data.crash);
    else if ('failed' in data) crash(data.failed, 'Pyodide could not be started.');
    else if (data.ready) {
      const { seconds, bytes, installed } = data.ready;
      element('measures').textContent = `Ready after ${seconds.toFixed(1)} s and ${size(bytes)}: ${installed.join(', ')}.`;
      enable(true);
    } else if (data.ran) {
      element('measures').textContent = `Ran for ${data.ran.seconds.toFixed(2)} s.`;
      enable(true);
    } else if (data.ended) {
      element('measures').textContent = '';
      enable(worker !== null && element('steps').querySelector('.bad') === null);
    }
  });
  started.postMessage({ start: { url: at(`pyodide/${version}/`), index: at('simple'), requirement: `${wheel.project}==${wheel.version}` } });
}

function run(code) {
  if (!ready) return;
  enable(false);
  output.replaceChildren();
  element('measures').textContent = 'Running …';
  worker.postMessage({ run: code });
}

/** The first lines: an import of what the wheel has. */
function snippet(wheel) {
  const name = wheel.imports.find((each) => !each.startsWith('_')) ?? wheel.imports[0];
  return name ? `import ${name}\n\nprint(${name}.__name__, getattr(${name}, "__version__", ""))\n` : 'print("no module to import")\n';
}

/** The wheel that a Pyodide installs, newest first; null for none. */
function wheelFor(found, version) {
  const fits = (wheel) => wheel.verdicts.some((row) => row.pyodide === version && row.tagged && row.verdict !== 'does-not-load');
  return found.builds.map((build) => build.wheel).find((wheel) => wheel && wheel.yanked === null && fits(wheel)) ?? null;
}

async function main() {
  form.hidden = false;
  const given = new URLSearchParams(location.search);
  const name = given.get('package');
  if (!name) return;
  form.elements.package.value = name;
  const lede = element('lede');
  const versions = [...form.elements.pyodide.options].map((each) => each.value);
  let found;
  try {
    const answer = await fetch(at(`packages/${encodeURIComponent(name)}/index.json`));
    if (!answer.ok) {
      lede.textContent = answer.status === 404 ? `There is no package ${name} here.` : `The server answered ${answer.status}. Try again later.`;
      return;
    }
    found = (await answer.json()).package;
  } catch {
    lede.textContent = 'The server does not answer. Try again later.';
    return;
  }
  const version = versions.find((each) => each === given.get('pyodide')) ?? versions.find((each) => wheelFor(found, each));
  const wheel = version && wheelFor(found, version);
  element('title').textContent = `Try ${found.name}`;
  document.title = `Try ${found.name} in Pyodide`;
  if (!wheel) {
    lede.textContent = `${found.name} has no wheel that ${version ? `Pyodide ${version}` : 'a Pyodide of this site'} installs.`;
    return;
  }
  form.elements.pyodide.value = version;
  const smoke = wheel.details?.smoke_test;
  element('code').value = snippet(wheel);
  element('lab').hidden = false;
  element('smoke').hidden = !smoke;
  element('run').addEventListener('click', () => run(element('code').value));
  element('smoke').addEventListener('click', () => {
    element('code').value = smoke;
    run(smoke);
  });
  element('restart').addEventListener('click', () => start(version, wheel));
  element('code').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run(element('code').value);
    }
  });
  start(version, wheel);
}

main();
