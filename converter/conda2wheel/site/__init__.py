"""What installers read over HTTP: a package index of static files."""
