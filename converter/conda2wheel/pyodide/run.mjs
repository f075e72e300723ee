// One Pyodide, one job: start, install, import, run. Usage: node run.mjs JOB.json
//
// JOB: {pyodide: folder of the npm package, packages: packageCacheDir, events: file that this writes, inside: inside.py,
//       installer, names: [packages of pyodide-lock.json], wheels: [paths, requirements first], modules: [names], script}
//
// What happens is told as JSON lines in the file `events`, written synchronously, so that the last one is there however
// this process ends; stdout and stderr belong to the code under test, which may print what it likes.
import fs from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const TEXT_LIMIT = 1 << 20; // characters of a script's output that travel in an event

const { writeSync } = fs;
const exit = process.exit.bind(process); // the code under test may replace both
const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const events = fs.openSync(job.events, 'a');

function say(event, fields = {}) {
  writeSync(events, `${JSON.stringify({ event, ...fields })}\n`);
}

function text(error) {
  return String((error && error.stack) || error).slice(-TEXT_LIMIT);
}

function die(error) {
  if (error === 'unwind') return; // Emscripten's way out of a main loop
  say('fatal', { error: text(error) });
  exit(70);
}

process.on('uncaughtException', die);
process.on('unhandledRejection', die);

// 0.22 and 0.23 import two npm packages at start that we do not bring: sockets, and what node's own fetch does.
const manifest = JSON.parse(fs.readFileSync(path.join(job.pyodide, 'package.json'), 'utf8'));
if (manifest.dependencies?.['node-fetch'] && module.register) {
  const hook = `export async function resolve(name, context, next) {
    const source = {ws: 'export default class {}', 'node-fetch': 'export default globalThis.fetch'}[name];
    return source ? {url: 'data:text/javascript,' + encodeURIComponent(source), shortCircuit: true} : next(name, context);
  }`;
  module.register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

let heard = null; // lines of stdout while a script runs
let size = 0;
const { loadPyodide } = await import(pathToFileURL(path.join(job.pyodide, 'pyodide.mjs')).href);
const py = await loadPyodide({
  indexURL: `${job.pyodide}/`,
  packageCacheDir: job.packages,
  stdout(line) {
    if (heard && size < TEXT_LIMIT) heard.push(line);
    size += line.length + 1;
    writeSync(1, `${line}\n`);
  },
  stderr(line) {
    writeSync(2, `${line}\n`);
  },
});
const inside = py.toPy({});
py.runPython(fs.readFileSync(job.inside, 'utf8'), { globals: inside });
say('started', { version: py.version });

// loadPackage does not throw for a package that fails, and what it returns is younger than 0.25: a package that is there
// afterwards and was not before has been loaded, anything else is a failure with what the callbacks were told.
async function load(what) {
  const before = Object.keys(py.loadedPackages).length;
  const told = [];
  const failed = [];
  try {
    await py.loadPackage([what], {
      errorCallback: (message) => told.push(message),
      messageCallback: (message) => /^Failed to load/.test(message) && failed.push(message),
    });
  } catch (error) {
    told.push(text(error));
  }
  const ok = failed.length === 0 && Object.keys(py.loadedPackages).length > before;
  return { ok, error: ok ? null : [...told, ...failed].join('\n') || 'loadPackage did not load it and did not say why' };
}

async function micropip(file) {
  const inner = `/tmp/${path.basename(file)}`;
  py.FS.writeFile(inner, fs.readFileSync(file));
  return JSON.parse(await inside.get('install')(`emfs:${inner}`));
}

for (const name of job.names) {
  say('loading', { name });
  if (py.loadedPackages[name]) say('loaded', { name, ok: true, error: null }); // came with one before
  else say('loaded', { name, ...(await load(name)) });
}
if (job.installer === 'micropip' && !py.loadedPackages.micropip) {
  say('done'); // without it nothing gets in, and an import would fail for a reason that is not the wheel's
  exit(0);
}
for (const file of job.wheels) {
  const wheel = path.basename(file);
  say('installing', { wheel });
  say('installed', { wheel, ...(await (job.installer === 'micropip' ? micropip(file) : load(file))) });
}
for (const name of job.modules) {
  say('importing', { name });
  // whatever Python raises comes back as a verdict; what is thrown here is the interpreter's own end
  say('imported', { name, ...JSON.parse(inside.get('try_import')(name)) });
}
if (job.script) {
  const inner = `/tmp/${path.basename(job.script)}`;
  py.FS.writeFile(inner, fs.readFileSync(job.script));
  say('running');
  heard = [];
  size = 0;
  const verdict = JSON.parse(await inside.get('run_script')(inner));
  say('ran', { ...verdict, stdout: heard.map((line) => `${line}\n`).join('') });
}
say('done');
exit(0);
