// What a real Pyodide does with each side module of a wheel. Usage: node agreement.mjs JOB.json
//
// JOB: {pyodide: folder of the npm package, distribution: the wheel's name as in its file name, initialise: bool,
//       modules: [{path: below site-packages, file: where its bytes are}], others: the same, of files that are not opened}
//
// Prints one JSON line a module: {path, load: null or the error, unresolved: [names], initialised: null or what came of it}.
// `unresolved` are the functions that the loader put a stub for and that nobody exports: each stub was called, and threw its
// "cannot resolve symbol". What failed to load stays in the loader's tables, so the next module gets a new interpreter.
// Libraries come before who NEEDs them, so that opening a module instantiates that module alone; initialised is what is left.
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const { loadPyodide } = await import(pathToFileURL(`${job.pyodide}/pyodide.mjs`).href);
const STUB = 'Dynamic linking error: cannot resolve symbol';

let interrupt = null; // some loaders throw where nobody listens
const thrown = (error) => (interrupt ? interrupt(error) : (console.error(error), process.exit(70)));
process.on('uncaughtException', thrown);
process.on('unhandledRejection', thrown);

let instances = []; // every module that was instantiated, with what it was given
const { instantiate, Instance } = WebAssembly;
WebAssembly.instantiate = async (source, imports) => {
  const result = await instantiate(source, imports);
  instances.push({ module: result.module ?? source, instance: result.instance ?? result, imports });
  return result;
};
WebAssembly.Instance = function (module, imports) {
  const instance = new Instance(module, imports);
  instances.push({ module, instance, imports });
  return instance;
};
WebAssembly.Instance.prototype = Instance.prototype; // the loader asks `instanceof`

const text = (error) => String((error && error.message) || error).slice(-2000);
const basename = (path) => path.slice(path.lastIndexOf('/') + 1);

const needed = new Map(); // by path, as the loader reads it

async function start() {
  const py = await loadPyodide({ indexURL: `${job.pyodide}/`, stdout() {}, stderr() {} });
  const site = py.runPython('import site; site.getsitepackages()[0]');
  for (const { path, file } of [...job.modules, ...job.others]) {
    const inner = `${site}/${path}`;
    py.FS.mkdirTree(inner.slice(0, inner.lastIndexOf('/')));
    py.FS.writeFile(inner, fs.readFileSync(file));
  }
  return { py, site, opened: new Map() };
}

// All that a module NEEDs among the modules, each after what it NEEDs itself, and at last the module.
function below(path, seen = new Set(), found = []) {
  if (seen.has(path)) return found;
  seen.add(path);
  for (const name of needed.get(path)) for (const each of needed.keys()) if (basename(each) === name) below(each, seen, found);
  found.push(path);
  return found;
}

// As loadPackage does for each library of a package; in 0.26, those that others NEED are global.
async function open({ py, site }, path) {
  const { version, _api: api } = py;
  if (!api.loadDynlibsFromPackage) return api.loadDynlib(`${site}/${path}`);
  const global = version.startsWith('0.26') && [...needed.values()].flat().includes(basename(path));
  return api.loadDynlib(`${site}/${path}`, global, [`${site}/${job.distribution}.libs`]);
}

// `opened` is what one dlopen instantiated, `scope` that and the libraries which it NEEDs. A stub for what they export finds it.
function unresolved(py, opened, scope) {
  const names = new Set();
  const exported = new Set(scope.flatMap(({ instance }) => Object.keys(instance.exports)));
  for (const { module, imports } of opened) {
    const { weakImports } = py._module.getDylinkMetadata(module);
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      const given = kind === 'function' && from === 'env' ? imports.env[name] : null;
      if (!given || !String(given).includes(STUB) || exported.has(name) || weakImports?.has?.(name)) continue;
      try {
        given();
      } catch (error) {
        if (text(error).includes(`${STUB} ${name}`)) names.add(name);
      }
    }
  }
  return [...names].sort();
}

// By `import`, else, where its packages ask for what is not there (numpy), by itself.
const INITIALISE = `
import importlib, importlib.machinery, importlib.util, sys
def root(error):
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"
def initialise(name, path):
    importlib.invalidate_caches()
    try:
        importlib.import_module(name)
        return "imported"
    except BaseException as error:
        told = root(error)
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    try:
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return f"initialised; its package says {told}"
    except BaseException as error:
        sys.modules.pop(name, None)
        return root(error)
initialise`;

function initialise({ py, site }, path) {
  const name = path.replace(/(\.abi3)?\.so(\.\d+)*$/, '').replaceAll('/', '.');
  const module = new WebAssembly.Module(py.FS.readFile(`${site}/${path}`));
  const starts = ['PyInit_', 'PyModExport_'].map((prefix) => prefix + name.slice(name.lastIndexOf('.') + 1));
  if (!WebAssembly.Module.exports(module).some((each) => starts.includes(each.name))) return null; // a library
  try {
    return py.runPython(INITIALISE)(name, `${site}/${path}`);
  } catch (error) {
    return `fatal: ${text(error)}`;
  }
}

// In an interpreter that is new since a failure, a library that loaded before is loaded again, before who NEEDs it.
async function reopen(running, path) {
  if (running.opened.has(path) || results.find((each) => each.path === path)?.load !== null) return;
  const before = instances.length;
  await open(running, path);
  running.opened.set(path, instances.slice(before));
}

async function attempt(running, path) {
  const result = { path, load: null, unresolved: [], initialised: null };
  for (const library of below(path).slice(0, -1)) await reopen(running, library);
  const before = instances.length;
  try {
    await Promise.race([open(running, path), new Promise((_, reject) => (interrupt = reject))]);
  } catch (error) {
    result.load = text(error);
  }
  interrupt = null;
  if (result.load !== null) return result;
  const opened = instances.slice(before);
  if (!opened.length) throw new Error(`${path} was open already: nothing was seen of it`);
  running.opened.set(path, opened);
  result.unresolved = unresolved(running.py, opened, below(path).flatMap((each) => running.opened.get(each) ?? []));
  return result;
}

let running = await start();
const results = [];
for (const { path } of job.modules) {
  needed.set(path, running.py._module.getDylinkMetadata(running.py.FS.readFile(`${running.site}/${path}`)).neededDynlibs);
}
for (const path of new Set([...needed.keys()].flatMap((each) => below(each)))) {
  if (!running) {
    instances = [];
    running = await start();
  }
  results.push(await attempt(running, path));
  if (results.at(-1).load !== null) running = null;
}
for (const result of results) {
  if (job.initialise) {
    running ??= await start();
    result.initialised = initialise(running, result.path);
    if (result.initialised?.startsWith('fatal')) running = null;
  }
  fs.writeSync(1, `${JSON.stringify(result)}\n`);
}
process.exit(0);
