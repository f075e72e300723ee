"""Publish a mirror's wheels: the entries of the index, its generations, and the pointer to the current one."""
