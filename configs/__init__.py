"""Pretraining recipes as YAML files; read them with `importlib.resources`."""
