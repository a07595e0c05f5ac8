"""Machines every room uses."""
