"""WebAssembly side modules as bytes: sections, imports, exports and dylink.0. Independent of conda and wheels."""
