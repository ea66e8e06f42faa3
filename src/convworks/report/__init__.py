"""Figures and text from records; nothing here trains."""
