// A Pyodide in a worker of its own: whatever happens to the interpreter, the page stays.
//
// It takes {start: {url, index, requirement}} and {run: code}, and gives {step, state}, {out}, {error} (Python's own), {crash} (the
// interpreter's end), {failed} (it did not start), {ready: {seconds, bytes, installed}}, {ran: {seconds}} and {ended}.
let pyodide = null;
let PythonError = null;

const text = (error) => String(error?.stack ?? error);
// Python's errors leave the interpreter alive. Any other error out of it is its end: a trap, an exhausted stack, an exit.
function report(error, starting) {
  if (PythonError && error instanceof PythonError) postMessage({ error: error.message });
  else postMessage({ [starting && !(error instanceof WebAssembly.RuntimeError) ? 'failed' : 'crash']: text(error) });
}

const INSTALL = `
import warnings

import micropip
warnings.filterwarnings("ignore", "Unsupported API minor version")  # a static index cannot ask which one it reads
try:
    from micropip.package_index import DEFAULT_INDEX_URLS as _others
except ImportError:
    _others = []
await micropip.install(_requirement, index_urls=[_index, *_others])
[f"{name} {found.version}" for name, found in sorted(micropip.list().items())]
`;

async function step(name, work) {
  postMessage({ step: name, state: 'now' });
  try {
    const value = await work();
    postMessage({ step: name, state: 'done' });
    return value;
  } catch (error) {
    postMessage({ step: name, state: 'bad' });
    throw error;
  }
}

async function start({ url, index, requirement }) {
  const began = performance.now();
  pyodide = await step('pyodide', async () => {
    const { loadPyodide } = await import(`${url}pyodide.mjs`);
    return loadPyodide({
      indexURL: url,
      stdout: (line) => postMessage({ out: line }),
      stderr: (line) => postMessage({ error: line }),
    });
  });
  ({ PythonError } = pyodide.ffi);
  pyodide._api.on_fatal = (error) => postMessage({ crash: text(error) }); // no promise is settled then: see Pyodide's own console
  await step('micropip', async () => {
    // Its hash was compared when it came to this server: it may be PyPI's file, which does the same as the lock file's.
    const quiet = { checkIntegrity: false, messageCallback: () => {}, errorCallback: (line) => postMessage({ error: line }) };
    await pyodide.loadPackage('micropip', quiet);
    if (!pyodide.loadedPackages.micropip) throw new Error('micropip could not be loaded');
  });
  const installed = await step('install', async () => {
    const globals = pyodide.toPy({ _requirement: requirement, _index: index });
    return (await pyodide.runPythonAsync(INSTALL, { globals })).toJs();
  });
  const bytes = performance.getEntriesByType('resource').reduce((sum, each) => sum + each.encodedBodySize, 0);
  postMessage({ ready: { seconds: (performance.now() - began) / 1000, bytes, installed } });
}

async function run(code) {
  const began = performance.now();
  const value = await pyodide.runPythonAsync(code, { filename: 'snippet.py' });
  if (value !== undefined) {
    postMessage({ out: String(value) });
    value?.destroy?.();
  }
  postMessage({ ran: { seconds: (performance.now() - began) / 1000 } });
}

onmessage = async ({ data }) => {
  try {
    if (data.start) await start(data.start);
    else await run(data.run);
  } catch (error) {
    report(error, Boolean(data.start));
    postMessage({ ended: true });
  }
};
