"""Holdfast: the control room for AI-agent runs."""

VERSION = "0.1.0"
