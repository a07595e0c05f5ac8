"""The outside shapes of invoices: JSON, PDF, e-invoice."""
