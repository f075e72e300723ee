"""The name of the distribution, by which pyodide-cli looks for the distribution of a plugin (see `pyodide`)."""
