"""Tests of conda2wheel; `tests.helpers` makes what they are fed with."""
