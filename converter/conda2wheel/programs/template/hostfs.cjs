// A file system for Emscripten's FS.mount that shows a folder of this machine, for programs that export FS and have no NODEFS.
//
// It uses what FS has in every version since 2: nodes, streams, ErrnoError. As NODEFS, it keeps nothing itself.
'use strict';

const fs = require('fs');
const path = require('path');

// WASI's numbers of errors, which Emscripten uses (wasi/api.h).
const ERRNO = {
  EACCES: 2, EBADF: 8, EBUSY: 10, EEXIST: 20, EINVAL: 28, EIO: 29, EISDIR: 31, ELOOP: 32, EMFILE: 33, ENAMETOOLONG: 37,
  ENOENT: 44, ENOSPC: 51, ENOSYS: 52, ENOTDIR: 54, ENOTEMPTY: 55, EPERM: 63, EPIPE: 64, EROFS: 69, ESPIPE: 70, EXDEV: 75,
};
// The flags of open(): musl's, as Emscripten has them, and this machine's.
const FLAGS = { 0o1: 'O_WRONLY', 0o2: 'O_RDWR', 0o100: 'O_CREAT', 0o200: 'O_EXCL', 0o1000: 'O_TRUNC', 0o2000: 'O_APPEND' };

module.exports = function hostfs(FS) {
  const attempt = (call) => {
    try {
      return call();
    } catch (error) {
      if (!error.code) throw error;
      throw new FS.ErrnoError(ERRNO[error.code] || ERRNO.EIO);
    }
  };

  const realPath = (node) => {
    const parts = [];
    let at = node;
    for (; at.parent !== at; at = at.parent) parts.push(at.name);
    return path.join(at.mount.opts.root, ...parts.reverse());
  };

  const openFlags = (flags) => {
    let found = 0;
    for (const [bit, name] of Object.entries(FLAGS)) if (flags & Number(bit)) found |= fs.constants[name] || 0;
    return found;
  };

  const createNode = (parent, name, mode) => {
    const node = FS.createNode(parent, name, mode, 0);
    node.node_ops = nodeOps;
    node.stream_ops = streamOps;
    return node;
  };

  const attributes = (status, ino) => ({
    dev: status.dev, ino, mode: status.mode, nlink: status.nlink, uid: status.uid, gid: status.gid, rdev: status.rdev,
    size: status.size, atime: status.atime, mtime: status.mtime, ctime: status.ctime,
    blksize: status.blksize || 4096, blocks: status.blocks || Math.ceil(status.size / 512),
  });

  const nodeOps = {
    getattr: (node) => attempt(() => attributes(fs.lstatSync(realPath(node)), node.id)),
    setattr: (node, change) => attempt(() => {
      const at = realPath(node);
      if (change.mode !== undefined && change.mode !== null) {
        fs.chmodSync(at, change.mode & 0o7777);
        node.mode = change.mode;
      }
      const accessed = change.atime ?? change.timestamp;
      const modified = change.mtime ?? change.timestamp;
      if (modified !== undefined) fs.utimesSync(at, new Date(accessed ?? modified), new Date(modified));
      if (change.size !== undefined) fs.truncateSync(at, change.size);
    }),
    lookup: (parent, name) => attempt(() => createNode(parent, name, fs.lstatSync(path.join(realPath(parent), name)).mode)),
    mknod: (parent, name, mode) => attempt(() => {
      const at = path.join(realPath(parent), name);
      if (FS.isDir(mode)) fs.mkdirSync(at, mode & 0o7777);
      else fs.writeFileSync(at, '', { mode: mode & 0o7777 });
      return createNode(parent, name, mode);
    }),
    rename: (node, folder, name) => attempt(() => {
      fs.renameSync(realPath(node), path.join(realPath(folder), name));
      node.name = name;
      node.parent = folder;
    }),
    unlink: (parent, name) => attempt(() => fs.unlinkSync(path.join(realPath(parent), name))),
    rmdir: (parent, name) => attempt(() => fs.rmdirSync(path.join(realPath(parent), name))),
    readdir: (node) => attempt(() => ['.', '..', ...fs.readdirSync(realPath(node))]),
    symlink: (parent, name, target) => attempt(() => {
      fs.symlinkSync(target, path.join(realPath(parent), name));
      return createNode(parent, name, 0o120777);
    }),
    readlink: (node) => attempt(() => fs.readlinkSync(realPath(node))),
  };

  const streamOps = {
    open: (stream) => attempt(() => {
      if (FS.isFile(stream.node.mode)) stream.nfd = fs.openSync(realPath(stream.node), openFlags(stream.flags & ~0o200));
    }),
    close: (stream) => attempt(() => {
      if (FS.isFile(stream.node.mode) && stream.nfd) fs.closeSync(stream.nfd);
    }),
    read: (stream, buffer, offset, length, position) =>
      attempt(() => (length ? fs.readSync(stream.nfd, new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length), 0,
        length, position) : 0)),
    write: (stream, buffer, offset, length, position) =>
      attempt(() => fs.writeSync(stream.nfd, new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length), 0, length,
        position)),
    llseek: (stream, offset, whence) => {
      let position = offset;
      if (whence === 1) position += stream.position;
      else if (whence === 2 && FS.isFile(stream.node.mode)) position += attempt(() => fs.fstatSync(stream.nfd).size);
      if (position < 0) throw new FS.ErrnoError(ERRNO.EINVAL);
      return position;
    },
  };

  return {
    mount: (given) => createNode(null, '/', attempt(() => fs.lstatSync(given.opts.root)).mode),
    node_ops: nodeOps,
    stream_ops: streamOps,
  };
};
