"""The builder on the standard libraries: against themselves, against formatted copies, and from each to the next."""
