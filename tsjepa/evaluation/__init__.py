"""Evaluations that need data sets or figures: what a single model is worth, and what studies of many find."""
