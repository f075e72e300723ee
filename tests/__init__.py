"""Tests of conda2wheel; `tests.build` makes what they are fed with."""
