"""The embedder as estimators of other libraries; import one from its module, `tsjepa.adapters.aeon` or `.sktime`."""
