"""Texts with their clauses and terms, the states of a binding, precedence, and the tables of parties: pure."""
