"""Processes that die at a chosen point between two statements, and what becomes of their runs."""
