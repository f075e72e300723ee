"""Sets of packages that work together: chosen by a solver, converted, laid out for installers; `bundle.py` is the map."""
