"""The work of a run: items are converted in worker processes, within limits of memory and time."""
