"""A whole channel as a wheel index, again and again: plan, work, store, publish, report, with a state that survives anything."""
