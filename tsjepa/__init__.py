"""Joint-embedding predictive pretraining for time series and sensors."""
