"""Measurements that can be repeated: `python -m benchmarks.NAME [--json]`. Results: docs/benchmarks.md."""
