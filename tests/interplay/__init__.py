"""What else looks at frames and functions, or is on the stack, while patches are loaded and taken out."""
