// Start an Emscripten program in node: node run.cjs PROGRAM ARGUMENT..., with PROGRAM as JSON (see launcher.py).
//
// Its own JavaScript runs, with a Module that gives it its arguments, the environment of this process, its side modules, and
// folders of this machine: the working directory, those that arguments name, and the files of its package as /prefix.
'use strict';

const fs = require('fs');
const path = require('path');
const vm = require('vm');
const { createRequire } = require('module');
const { pathToFileURL } = require('url');

const TRAPPED = 134; // as for WASI programs
const NOT_MOUNTED = ['/dev', '/proc']; // Emscripten has its own
const exists = fs.existsSync.bind(fs); // as it is before paths are redirected
const program = JSON.parse(process.argv[2]);
const args = process.argv.slice(3);
const file = path.join(program.prefix, ...program.file.split('/'));
const source = fs.readFileSync(file, 'utf8');

let aborted = null; // what the program said when it aborted
let told = false;

function main() {
  process.argv = [process.argv[0], file, ...args];
  process.on('uncaughtException', ended);
  process.on('unhandledRejection', ended);
  // Some builds end the process themselves after an abort, with status 1.
  process.on('exit', () => {
    if (aborted === null || told) return;
    tell(`Aborted(${aborted})`);
    process.exitCode = TRAPPED;
  });
  redirectFiles();
  waitForInput();
  // Emscripten before 3.1.25 takes this for a browser's, since node has fetch, too, and fetches the path of a file.
  WebAssembly.instantiateStreaming = undefined;
  if (program.environ.length === 2) giveEnvironment();
  const options = moduleOptions();
  if (program.form === 'module') {
    // Emscripten before 3.1.10 uses these in ES modules, too, which do not have them.
    Object.assign(globalThis, { require: createRequire(file), __filename: file, __dirname: path.dirname(file) });
    import(pathToFileURL(file).href).then((made) => made.default(options)).catch(ended);
    return;
  }
  // The program finds its options in a variable of its scope, as in a page where an earlier script made it.
  const names = ['exports', 'require', 'module', '__filename', '__dirname', 'Module'];
  const own = { exports: {}, filename: file };
  const run = vm.compileFunction(source.replace(/^#!.*/, ''), names, { filename: file });
  run.call(own.exports, own.exports, createRequire(file), own, file, path.dirname(file), options);
  if (typeof own.exports === 'function') Promise.resolve(own.exports(options)).catch(ended);
}

// What ends a program that does not end by itself: a status that was thrown, or a trap.
function ended(error) {
  if (error && error.name === 'ExitStatus') {
    process.exitCode = error.status;
    return;
  }
  tell(error instanceof Error ? error.message || error.name : String(error));
  process.exit(TRAPPED);
}

function tell(text) {
  told = true;
  fs.writeSync(2, `${program.name}: ${text.split('\n')[0]} (WebAssembly trap)\n`);
}

// Only what the program knows: builds with assertions refuse the rest.
function moduleOptions() {
  const options = {};
  const known = (name) => new RegExp(`\\b${name}\\b`).test(source);
  if (known('arguments')) options.arguments = args;
  if (known('thisProgram')) options.thisProgram = program.files === 'noderawfs' ? file : program.name;
  if (known('onAbort')) options.onAbort = (what) => (aborted = String(what ?? ''));
  if (known('locateFile')) options.locateFile = locate;
  if (known('preRun')) options.preRun = [(given) => prepare(given || options)];
  return options;
}

// Side modules are in lib/ of a conda package, and Emscripten looks beside the JavaScript.
function locate(name, folder) {
  const base = path.posix.basename(name);
  const places = [path.join(folder || path.dirname(file), name), path.join(path.dirname(file), base)];
  places.push(path.join(program.prefix, 'lib', base), path.join(program.prefix, 'lib64', base));
  return places.find(exists) || (folder || '') + name;
}

function prepare(given) {
  if (given.ENV) Object.assign(given.ENV, process.env);
  if (given.FS && (program.files === 'nodefs' || program.files === 'fs')) mount(given);
}

function mount(given) {
  const FS = given.FS;
  const type = given.NODEFS || (FS.filesystems && FS.filesystems.NODEFS) || require('./hostfs.cjs')(FS);
  const mounted = [];
  const add = (host, guest) => {
    if (mounted.some((each) => guest === each || guest.startsWith(each + '/'))) return;
    if (guest === '/') {
      for (const entry of fs.readdirSync(host, { withFileTypes: true })) {
        if (entry.isDirectory() && !NOT_MOUNTED.includes('/' + entry.name)) add(path.join(host, entry.name), '/' + entry.name);
      }
      return;
    }
    makeFolders(FS, guest);
    FS.mount(type, { root: host }, guest);
    mounted.push(guest);
  };
  // A folder before those in it, which its mount shows.
  const folders = [...program.folders].sort((one, other) => one[1].length - other[1].length);
  for (const [host, guest] of folders) add(host, guest);
  add(program.prefix, '/prefix');
  if (program.directory) FS.chdir(program.directory);
}

function makeFolders(FS, guest) {
  let at = '';
  for (const part of guest.split('/').filter(Boolean)) {
    at += '/' + part;
    if (!FS.analyzePath(at).exists) FS.mkdir(at);
  }
}

// Emscripten has an environment of its own, and the program reads it by two imports: they are answered here with that of this
// process, however the program's JavaScript instantiates its module.
function giveEnvironment() {
  const { instantiate, Instance } = WebAssembly;
  WebAssembly.Instance = function (module, imports) {
    const given = withEnvironment(module, imports);
    return given.made(new Instance(module, given.imports));
  };
  WebAssembly.Instance.prototype = Instance.prototype;
  WebAssembly.instantiate = async (source, imports) => {
    const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(source);
    const given = withEnvironment(module, imports);
    const instance = given.made(await instantiate(module, given.imports));
    return module === source ? instance : { module, instance };
  };
}

function withEnvironment(module, imports) {
  const [get, sizes] = program.environ;
  let memory = null;
  const view = () => new DataView(memory.buffer);
  const strings = () => Object.entries(process.env).map(([name, value]) => Buffer.from(`${name}=${value}\0`));
  const answers = {
    [get]: (pointers, buffer) => {
      let at = buffer >>> 0;
      strings().forEach((text, number) => {
        view().setUint32((pointers >>> 0) + 4 * number, at, true);
        new Uint8Array(memory.buffer).set(text, at);
        at += text.length;
      });
      return 0;
    },
    [sizes]: (count, size) => {
      const texts = strings();
      view().setUint32(count >>> 0, texts.length, true);
      view().setUint32(size >>> 0, texts.reduce((sum, text) => sum + text.length, 0), true);
      return 0;
    },
  };
  const given = { ...imports };
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind === 'function' && name in answers && typeof imports[from]?.[name] === 'function') {
      given[from] = new Proxy(given[from], { get: (target, key) => (key === name ? answers[name] : target[key]) });
    }
    if (kind === 'memory') memory = imports[from][name];
  }
  const made = (instance) => {
    memory = memory || Object.values(instance.exports).find((each) => each instanceof WebAssembly.Memory);
    return instance;
  };
  return { imports: given, made };
}

// Where a path leads that is not of this machine: a side module that Emscripten before 3.1.15 asks for by its bare name, and with
// NODERAWFS, where every path is one of the machine, what is below /prefix.
function redirectFiles() {
  const real = (given) => {
    if (typeof given !== 'string' || exists(given)) return given;
    if (program.files === 'noderawfs' && (given === '/prefix' || given.startsWith('/prefix/'))) {
      return path.join(program.prefix, given.slice('/prefix'.length));
    }
    if (!/\.(so(\.\d+)*|wasm)$/.test(given)) return given;
    const found = locate(path.basename(given), '');
    return exists(found) ? found : given;
  };
  for (const name of ['openSync', 'statSync', 'lstatSync', 'readdirSync', 'readFileSync', 'existsSync', 'accessSync',
    'readlinkSync', 'realpathSync', 'opendirSync', 'readFile']) {
    const before = fs[name];
    fs[name] = Object.assign((given, ...others) => before(real(given), ...others), before);
  }
}

// node makes a pipe on standard input one that does not wait, and Emscripten takes "nothing yet" for an error.
function waitForInput() {
  const before = fs.readSync;
  const moment = new Int32Array(new SharedArrayBuffer(4));
  fs.readSync = (from, ...others) => {
    for (;;) {
      try {
        return before(from, ...others);
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        Atomics.wait(moment, 0, 0, 5);
      }
    }
  };
}

main();
