"""Open and read one conda package; archives are not trusted."""
