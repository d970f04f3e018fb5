"""Hooks at the entry and exit of Python functions: the part that ftrace and kretprobes play in the kernel."""
