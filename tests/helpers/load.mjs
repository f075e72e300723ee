// Wheels in a real Pyodide, one after another: does it load, and what does a call do? Usage: node load.mjs JOB.json
//
// JOB: {pyodide: folder of the npm package, cases: [{name, wheels: [paths], code: Python that leaves `result`, alone}]}
//
// Prints one JSON line a case: {name, load: null or the error, fatal: null or the error, value: repr of the result or null,
// raised: null or the error}. An error is fatal if that interpreter says so when it is asked for anything else; any other is
// raised. A case that came out clean and is not `alone` leaves its interpreter to the next one; every
// other gets it a new one, because what failed to load stays in the loader's tables and fails whatever is loaded later. New ones
// are made from a snapshot of the first one's memory, before it loaded anything: that takes a fifth of the time.
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const { loadPyodide, snapshot: ready } = await import(pathToFileURL(`${job.pyodide}/pyodide.mjs`).href);

let interrupt = null; // some loaders throw where nobody listens
const thrown = (error) => (interrupt ? interrupt(error) : (console.error(error), process.exit(70)));
process.on('uncaughtException', thrown);
process.on('unhandledRejection', thrown);

function text(error) {
  return String((error && error.message) || error).slice(-2000);
}

const quiet = { indexURL: `${job.pyodide}/`, stdout() {}, stderr() {} };
let snapshot = ready; // of warm.py; undefined in a Pyodide as npm has it
async function start() {
  snapshot ??= (await loadPyodide({ ...quiet, _makeSnapshot: true })).makeMemorySnapshot();
  return loadPyodide({ ...quiet, _loadSnapshot: snapshot });
}

async function install(py, wheels) {
  const told = [];
  for (const wheel of wheels) {
    const before = Object.keys(py.loadedPackages).length;
    const failed = [];
    await py.loadPackage([wheel], {
      errorCallback: (message) => told.push(message),
      messageCallback: (message) => /^Failed to load/.test(message) && failed.push(message),
    });
    if (failed.length || Object.keys(py.loadedPackages).length === before) return [...told, ...failed].join('\n') || 'not loaded';
  }
  return null;
}

function ended(py) {
  try {
    py.runPython('0');
    return false;
  } catch (error) {
    return /already fatally failed/.test(text(error));
  }
}

async function attempt(py, each) {
  const result = { name: each.name, load: null, fatal: null, value: null, raised: null };
  try {
    result.load = await Promise.race([install(py, each.wheels), new Promise((_, reject) => (interrupt = reject))]);
  } catch (error) {
    result.load = text(error);
  }
  interrupt = null;
  if (result.load === null) {
    try {
      result.value = String(py.runPython(`repr((lambda: (exec(${JSON.stringify(each.code)}, (scope := {})), scope.get("result"))[1])())`));
    } catch (error) {
      result[ended(py) ? 'fatal' : 'raised'] = text(error);
    }
  }
  return result;
}

let py = null;
for (const each of job.cases) {
  py ??= await start();
  const result = await attempt(py, each);
  fs.writeSync(1, `${JSON.stringify(result)}\n`);
  if (result.value === null || each.alone) py = null;
}
process.exit(0);
