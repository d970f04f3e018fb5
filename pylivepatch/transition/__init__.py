"""Transitions: from every old function to every new one at one instant, or back."""
