"""Link the side modules of a wheel: libraries, resolution, provided ones, isolation, RUNTIME_PATH, rewriting, common wheels."""
