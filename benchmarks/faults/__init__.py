"""Trials of faults: what is done to the packages, and what they make of it."""
