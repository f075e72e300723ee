"""The rules of the audit: whether side modules load in a Pyodide, and what ends the interpreter when it is called."""
