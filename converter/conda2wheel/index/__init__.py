"""The simple index (PEP 503, 691, 700, 714, 592, 792), pyodide-lock, and pylock."""
