"""Plotly figures that a reader hovers, zooms and exports."""
