"""``make bench``: what is claimed about speed, measured side by side in one run. See docs/benchmarks.md."""
