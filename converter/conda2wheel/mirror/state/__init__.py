"""The state of a mirror: packages, work items, wheels and results, in a database that survives interruptions."""
