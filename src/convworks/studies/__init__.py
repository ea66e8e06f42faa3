"""Questions as grids of runs: each is a TOML file, answered with a table, a picture and a page."""
