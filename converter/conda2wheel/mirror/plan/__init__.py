"""What a run of a mirror has to do: what is new, changed or gone, what to convert, and why."""
