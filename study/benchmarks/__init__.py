"""What `python -m study.bench` measures: one module a benchmark, and results as JSON beside them."""
