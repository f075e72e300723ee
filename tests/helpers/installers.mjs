// One Pyodide that installs something and tells what came of it. Usage: node installers.mjs JOB.json
//
// JOB: {pyodide: folder of the npm package, packages: packageCacheDir, lock: path or URL of a lock file or null,
//       base: packageBaseUrl or null, load: [names for loadPackage], first: [requirements that micropip installs one by one before],
//       micropip: [requirements], index: URL of an index or null,
//       script: Python or null, events: file that this writes}
// The event `answer` has what `Answer` of installers.py has.
//
// Whatever is not on loopback is refused before it leaves, and recorded: that is the point of it.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const answer = { loaded: [], errors: [], messages: [], asked: [], refused: [], distributions: {}, result: null };
const say = (event, fields = {}) => fs.appendFileSync(job.events, `${JSON.stringify({ event, ...fields })}\n`);
const plain = globalThis.fetch;
globalThis.fetch = async (what, options) => {
  const url = String(what?.url ?? what);
  answer.asked.push(url);
  if (!/^https?:\/\/127\.0\.0\.1[:/]/.test(url)) {
    answer.refused.push(url);
    throw new TypeError(`nothing but loopback is reachable here: ${url}`);
  }
  return plain(what, options);
};

const { loadPyodide } = await import(pathToFileURL(path.join(job.pyodide, 'pyodide.mjs')).href);
const options = { indexURL: `${job.pyodide}/` };
if (job.packages) options.packageCacheDir = job.packages;
if (job.base) options.packageBaseUrl = job.base;
if (job.lock && job.lock.includes('://')) options.lockFileContents = await (await fetch(job.lock)).text();
else if (job.lock) options.lockFileURL = job.lock;

try {
  const py = await loadPyodide(options);
  const callbacks = { errorCallback: (line) => answer.errors.push(line), messageCallback: (line) => answer.messages.push(line) };
  if (job.micropip.length) await py.loadPackage('micropip', callbacks);
  if (job.load.length) await py.loadPackage(job.load, callbacks);
  answer.loaded = Object.keys(py.loadedPackages);
  if (job.micropip.length) {
    const install = py.runPython('import micropip\nmicropip.install');
    const from = job.index ? { index_urls: job.index } : {};
    for (const each of job.first) await install.callKwargs(each, from);
    await install.callKwargs(py.toPy(job.micropip), from);
  }
  answer.distributions = JSON.parse(
    py.runPython('import importlib.metadata as m, json\njson.dumps({d.metadata["Name"]: d.version for d in m.distributions()})'),
  );
  if (job.script) answer.result = String(await py.runPythonAsync(job.script));
} catch (error) {
  answer.errors.push(String(error?.message ?? error));
}
say('answer', answer);
say('done');
process.exit(0);
