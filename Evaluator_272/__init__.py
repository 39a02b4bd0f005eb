"""Motion and text in one space (TMR, arXiv 2305.00976), the metrics, and the protocol of the tables: see README.md."""
