"""The judge of the tables: motion and text in one space (TMR, arXiv 2305.00976)."""
