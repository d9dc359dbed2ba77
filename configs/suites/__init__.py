"""Suites of data sets that ship with the package, one YAML file each."""
