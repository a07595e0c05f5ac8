"""The use cases: texts and their publishing, bindings and acceptances, resolving, and the shipped template."""
