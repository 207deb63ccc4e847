"""Plots of what was measured, in one plain style."""
