"""The commands, one module each: convert, audit, repair, inspect, and verify."""
