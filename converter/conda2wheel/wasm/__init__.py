"""WebAssembly side modules as bytes: sections, imports, exports and dylink.0. Knows nothing of conda or of wheels."""
