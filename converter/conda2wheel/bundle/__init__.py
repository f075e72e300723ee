"""A resolved set of packages as wheels that work together in one Pyodide."""
