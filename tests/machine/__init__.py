"""Random lives of patches against a simple model: which version must answer, and what must be refused."""
